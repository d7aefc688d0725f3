"""A network on a device, from 8-bit pictures to codes, halving its batch where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from autolabel.errors import AutolabelError
from autolabel.inference.evidence import evidence_of
from autolabel.inference.upload import Upload
from autolabel.labels.codes import CodeBook
from autolabel.models import Network, NetworkCard, normalise

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Teacher:
    """Callable: RGB pictures (B, H, W, 3) uint8 on the CPU -> codes (B, H, W) on the device.

    Runs on the device: of our own networks a copy made for inference (`inference.prepare`). `precision` is "fp32" or
    "bf16": about twice as fast where the device has instructions for it, and a label differs here and there. `static`
    compiles and records passes of our own networks of frequent shapes on CUDA (`inference.static`).
    """

    def __init__(
        self,
        model: Network,
        card: NetworkCard,
        book: CodeBook,
        *,
        scales: Sequence[float],
        flip: bool = False,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        static: bool = False,
    ) -> None:
        assert model.num_classes == book.num_classes, f"{model.num_classes} classes, codes of {book.num_classes}"
        self.device = torch.device(device)
        self.upload = Upload(self.device)
        self._dtype = _PRECISIONS[precision]
        self.evidence = evidence_of(model, self.device, self._dtype, static=static)
        self.card, self.book, self.scales, self.flip = card, book, tuple(scales), flip

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        images = normalise(self.upload(pictures), self.card.mean, self.card.std)
        autocast = torch.autocast(self.device.type, dtype=self._dtype, enabled=self._dtype != torch.float32)
        return self.evidence.codes(images, self.book, self.scales, flip=self.flip, autocast=autocast)


class Halving:
    """Calls `function` on a batch; whenever memory runs out, from then on in parts half as large, down to one image.

    `on_retry(limit)` hears of every halving. AutolabelError where a single image does not fit.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], on_retry: Callable[[int], None] = lambda limit: None
    ) -> None:
        self._function, self._on_retry = function, on_retry
        self._limit: int | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        parts: list[Tensor] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + (self._limit or len(batch))]
            result = self._attempt(part)
            if result is None:
                self._halve(part)
            else:
                parts.append(result)
                start += len(part)
        return torch.cat(parts)

    def _attempt(self, part: Tensor) -> Tensor | None:
        try:
            return self._function(part)
        except torch.OutOfMemoryError:
            return None  # not handled here: the exception's frames would keep the memory

    def _halve(self, part: Tensor) -> None:
        if len(part) == 1:
            height, width = part.shape[1:3]
            raise AutolabelError(
                "infer", f"no memory for one image of {width} x {height}", "take lower scales, or set infer.window"
            )
        self._limit = len(part) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._on_retry(self._limit)
