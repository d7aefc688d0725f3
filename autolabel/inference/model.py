"""A network on a device, from 8-bit pictures to codes, halving its batch where memory runs out.

What a teacher can be: anything that gives evidence a pixel, and how that becomes codes.

Pictures on their way to the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from autolabel.errors import AutolabelError
from autolabel.inference.cuda_graphs import CudaGraphs, StaticPasses
from autolabel.inference.decision import encode, encode_probabilities
from autolabel.inference.fused_decision import encode_fused
from autolabel.inference.multiscale import descending, forward_views
from autolabel.inference.optimize import prepare
from autolabel.labels.codebook import Codebook
from autolabel.models import Network, NetworkCard, SegmentationModel, normalise

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class InferenceModel:
    """Callable: RGB pictures (B, H, W, 3) uint8 on the CPU -> codes (B, H, W) on the device.

    Runs on the device: of our own networks a copy made for inference (`inference.prepare`). `precision` is "fp32" or
    "bf16": about twice as fast where the device has instructions for it, and a label differs here and there. `static`
    compiles and records passes of our own networks of frequent shapes on CUDA (`inference.static`).
    """

    def __init__(
        self,
        model: Network,
        card: NetworkCard,
        book: Codebook,
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
        self.evidence = code_predictor(model, self.device, self._dtype, static=static)
        self.card, self.book, self.scales, self.flip = card, book, tuple(scales), flip

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        images = normalise(self.upload(pictures), self.card.mean, self.card.std)
        autocast = torch.autocast(self.device.type, dtype=self._dtype, enabled=self._dtype != torch.float32)
        return self.evidence.codes(images, self.book, self.scales, flip=self.flip, autocast=autocast)


class SplitOnOutOfMemory:
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


class ScaleEvidence(NamedTuple):
    """What one scale says by itself, and how much it counts."""

    values: Tensor  # (B, K or K + 1, h, w), as `Evidence.decide` takes them
    weight: Tensor  # (B, 1, H, W), summing to 1 over the scales at every pixel


class CodePredictor(Protocol):
    """Images are normalised, (B, 3, H, W); nothing keeps a gradient."""

    def codes(
        self, images: Tensor, book: Codebook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        """Codes (B, H, W) of what all scales, and with `flip` the mirrored images, say together.

        The network runs under `autocast`; what it says is weighed and decided in float32.
        """
        ...

    def by_scale(self, images: Tensor, scales: Sequence[float]) -> dict[float, ScaleEvidence]: ...

    def decide(self, values: Tensor, book: Codebook) -> Tensor:
        """Codes (B, h, w) of one scale's values."""
        ...


class ProbabilityModel(Protocol):
    """A network that is asked for probabilities: they must sum to 1 at every pixel, or nothing is decided."""

    def probabilities(self, images: Tensor, *, scale: float) -> Tensor:
        """(B, K, H, W) seen at one scale, or (B, K + 1, H, W) with the probability of no class last."""
        ...


@dataclass(frozen=True)
class LogitPredictor:
    """Our own networks: logits of every scale, weighed by attention."""

    model: SegmentationModel

    def codes(
        self, images: Tensor, book: Codebook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        with torch.no_grad(), autocast:
            views = forward_views(self.model, images, scales, flip=flip)
        return encode_fused(self.model.fusion, views, book)

    @torch.no_grad()
    def by_scale(self, images: Tensor, scales: Sequence[float]) -> dict[float, ScaleEvidence]:
        maps = self.model.scale_maps(images, descending(scales))
        weights = self.model.fusion.weights(maps)
        return {m.scale: ScaleEvidence(m.logits, weights[m.scale]) for m in maps}

    def decide(self, values: Tensor, book: Codebook) -> Tensor:
        return encode(values, book)


@dataclass(frozen=True)
class ProbabilityPredictor:
    """All others: the mean of the probabilities of every scale."""

    model: ProbabilityModel

    def codes(
        self, images: Tensor, book: Codebook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        with autocast:
            mean = self.mean(images, scales, flip=flip)
        return encode_probabilities(mean, book)

    @torch.no_grad()
    def mean(self, images: Tensor, scales: Sequence[float], *, flip: bool) -> Tensor:
        """(B, K or K + 1, H, W) over the scales and, with `flip`, the mirrored images."""
        total = _sum(self.model.probabilities(images, scale=scale) for scale in scales)
        if flip:
            mirrored = images.flip(-1)
            total += _sum(self.model.probabilities(mirrored, scale=scale) for scale in scales).flip(-1)
        return total.div_(len(scales) * (1 + flip))

    @torch.no_grad()
    def by_scale(self, images: Tensor, scales: Sequence[float]) -> dict[float, ScaleEvidence]:
        weight = images.new_full((len(images), 1, *images.shape[-2:]), 1 / len(scales))
        return {scale: ScaleEvidence(self.model.probabilities(images, scale=scale), weight) for scale in scales}

    def decide(self, values: Tensor, book: Codebook) -> Tensor:
        return encode_probabilities(values, book)


def _sum(maps: Iterable[Tensor]) -> Tensor:
    """One map of full size at a time beside the sum."""
    found = iter(maps)
    total = next(found).clone()
    for values in found:
        total += values
    return total


def code_predictor(
    model: Network, device: torch.device, dtype: torch.dtype = torch.float32, *, static: bool = False
) -> CodePredictor:
    """How this network is asked, in eval mode on the device: ours as a copy for convolutions in `dtype`, on CUDA and
    where `static` is asked for with passes that are compiled and recorded."""
    if not isinstance(model, SegmentationModel):
        return ProbabilityPredictor(model.to(device).eval())
    prepared = prepare(model, device, dtype)
    if static and device.type == "cuda":
        prepared.forward_scale = StaticPasses(prepared.forward_scale, CudaGraphs())  # type: ignore[method-assign]  # wraps it
    return LogitPredictor(prepared)


class Upload:
    """Pictures to the device. On CUDA from pinned memory, on a stream of its own: while the network works on one batch
    the next one travels."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def pinned(self, pictures: Tensor) -> Tensor:
        """Where the device can read it by itself. A copy that costs time: call it beside the network's thread."""
        return pictures if self._stream is None else pictures.pin_memory()

    def __call__(self, pictures: Tensor) -> Tensor:
        """On the device, for work that the current stream is given from now on."""
        if self._stream is None:
            return pictures.to(self._device)
        with torch.cuda.stream(self._stream):
            images = self.pinned(pictures).to(self._device, non_blocking=True)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        images.record_stream(current)  # it belongs to the other stream: not to be reused before this one is done
        return images
