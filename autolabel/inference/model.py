"""A network on a device: 8-bit images in, codes out.

A network predicts either logits (our own) or probabilities (all others); a `CodePredictor` turns them into codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from autolabel.errors import AutolabelError, ImageError
from autolabel.hardware import on_device
from autolabel.inference.cuda_graphs import CudaGraphs, StaticPasses
from autolabel.inference.decision import encode, encode_probabilities
from autolabel.inference.fused_decision import encode_fused
from autolabel.inference.multiscale import descending, forward_views
from autolabel.inference.optimize import prepare
from autolabel.inference.optimize_huggingface import prepare_huggingface
from autolabel.labels.codebook import Codebook
from autolabel.models import HuggingFaceModel, Network, NetworkCard, SegmentationModel, normalise

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class InferenceModel:
    """Callable: RGB images (B, H, W, 3) uint8 on the CPU -> codes (B, H, W) on the device.

    Our own networks run as an optimized copy (`inference.optimize`). `precision` is "fp32" or "bf16": about twice as
    fast if the device has instructions for it, with a few different labels. `static` compiles our own networks on CUDA
    and records a CUDA graph for each frequent shape (`inference.cuda_graphs`).
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
        self._dtype = PRECISIONS[precision]
        self.predictor = code_predictor(model, self.device, self._dtype, static=static)
        self.card, self.book, self.scales, self.flip = card, book, tuple(scales), flip
        self._logits = isinstance(self.predictor, LogitPredictor)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        autocast = torch.autocast(self.device.type, dtype=self._dtype, enabled=self._dtype != torch.float32)
        with on_device(self.device):
            normalised = normalise(self.upload(images), self.card.mean, self.card.std)
            return self.predictor.codes(normalised, self.book, self.scales, flip=self.flip, autocast=autocast)

    @torch.inference_mode()
    def check_finite(self, image: Tensor, codes: np.ndarray) -> None:
        """ImageError if the codes (H, W) of an image (H, W, 3) come from numbers that are not finite; names the scale.

        A code is invalid only then, where the network predicts logits. Probabilities are checked as they are encoded.
        """
        if not self._logits or not (codes == self.book.invalid).any():
            return
        top, left = (max(0, int(at[0]) - _AROUND) for at in np.nonzero(codes == self.book.invalid))
        around = image[top : top + 2 * _AROUND, left : left + 2 * _AROUND]  # the whole image may not fit into memory
        normalised = normalise(around[None].to(self.device), self.card.mean, self.card.std)
        views = self.predictor.by_scale(normalised, self.scales)
        bad = [f"{scale:g}" for scale, view in sorted(views.items()) if not view.values.isfinite().all()]
        at = f"scale {', '.join(bad)}" if bad else f"one of the scales {', '.join(map(str, self.scales))}"
        raise ImageError("image", f"{NOT_FINITE} at {at}", "check the weights file and its card, or train again")


_AROUND = 256  # pixels
NOT_FINITE = "the network gives numbers that are not finite"


class SplitOnOutOfMemory:
    """Calls `function` on a batch. When memory runs out, it halves the batch size from then on, down to one image.

    Calls `on_retry(limit)` on every halving. AutolabelError if a single image does not fit.
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


class ScalePrediction(NamedTuple):
    """The prediction of one scale alone, and its weight in the fusion."""

    values: Tensor  # (B, K or K + 1, h, w), logits or probabilities: the input of `CodePredictor.encode`
    weight: Tensor  # (B, 1, H, W), summing to 1 over the scales at every pixel


class CodePredictor(Protocol):
    """Turns normalised images (B, 3, H, W) into codes; keeps no gradient."""

    def codes(
        self, images: Tensor, book: Codebook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        """Codes (B, H, W) of all scales fused; with `flip` also of the horizontally flipped images.

        The network runs under `autocast`; its output is fused and encoded in float32.
        """
        ...

    def by_scale(self, images: Tensor, scales: Sequence[float]) -> dict[float, ScalePrediction]: ...

    def encode(self, values: Tensor, book: Codebook) -> Tensor:
        """Codes (B, h, w) of one scale's values."""
        ...


class ProbabilityModel(Protocol):
    """A network that predicts probabilities; they must sum to 1 at every pixel."""

    def probabilities(self, images: Tensor, *, scale: float) -> Tensor:
        """(B, K, H, W) at one scale, or (B, K + 1, H, W) with the probability of "no class" last; a new tensor."""
        ...


@dataclass(frozen=True)
class LogitPredictor:
    """Our own networks: the logits of all scales, weighted by attention."""

    model: SegmentationModel

    def codes(
        self, images: Tensor, book: Codebook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        with torch.no_grad(), autocast:
            views = forward_views(self.model, images, scales, flip=flip)
        return encode_fused(self.model.fusion, views, book)

    @torch.no_grad()
    def by_scale(self, images: Tensor, scales: Sequence[float]) -> dict[float, ScalePrediction]:
        maps = self.model.scale_maps(images, descending(scales))
        weights = self.model.fusion.weights(maps)
        return {m.scale: ScalePrediction(m.logits, weights[m.scale]) for m in maps}

    def encode(self, values: Tensor, book: Codebook) -> Tensor:
        return encode(values, book)


@dataclass(frozen=True)
class ProbabilityPredictor:
    """All other networks: the mean probability over the scales."""

    model: ProbabilityModel

    def codes(
        self, images: Tensor, book: Codebook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        with autocast:
            mean = self.mean(images, scales, flip=flip)
        return encode_probabilities(mean, book)

    @torch.no_grad()
    def mean(self, images: Tensor, scales: Sequence[float], *, flip: bool) -> Tensor:
        """(B, K or K + 1, H, W) mean over the scales and, with `flip`, the flipped images."""
        total = _sum(self.model.probabilities(images, scale=scale) for scale in scales)
        if flip:
            flipped = images.flip(-1)
            total += _sum(self.model.probabilities(flipped, scale=scale) for scale in scales).flip(-1)
        return total.div_(len(scales) * (1 + flip))

    @torch.no_grad()
    def by_scale(self, images: Tensor, scales: Sequence[float]) -> dict[float, ScalePrediction]:
        weight = images.new_full((len(images), 1, *images.shape[-2:]), 1 / len(scales))
        return {scale: ScalePrediction(self.model.probabilities(images, scale=scale), weight) for scale in scales}

    def encode(self, values: Tensor, book: Codebook) -> Tensor:
        return encode_probabilities(values, book)


def _sum(maps: Iterable[Tensor]) -> Tensor:
    """Sum of maps, in the place of the first, with one other in memory at a time."""
    rest = iter(maps)
    total = next(rest)
    for values in rest:
        total += values
    return total


def code_predictor(
    model: Network, device: torch.device, dtype: torch.dtype = torch.float32, *, static: bool = False
) -> CodePredictor:
    """The predictor for a network, in eval mode on the device: an optimized copy of our own networks and of those of
    transformers. Our own have convolutions in `dtype`; with `static` on CUDA their passes are compiled and recorded."""
    if isinstance(model, HuggingFaceModel):
        return ProbabilityPredictor(prepare_huggingface(model, device))
    if not isinstance(model, SegmentationModel):
        return ProbabilityPredictor(model.to(device).eval())
    prepared = prepare(model, device, dtype)
    if static and device.type == "cuda":
        prepared.forward_scale = StaticPasses(prepared.forward_scale, CudaGraphs())  # type: ignore[method-assign]  # wraps it
    return LogitPredictor(prepared)


class Upload:
    """Copies images to the device. On CUDA the copy runs from pinned memory on its own stream, while the network works
    on the previous batch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def pinned(self, images: Tensor) -> Tensor:
        """The images in pinned memory (on a CPU as they are). This copy takes time: call it in a loader thread."""
        if self._stream is None:
            return images
        with on_device(self._device):
            return images.pin_memory()

    def __call__(self, images: Tensor) -> Tensor:
        """The images on the device, ready for all later work of the current stream."""
        if self._stream is None:
            return images.to(self._device)
        with torch.cuda.stream(self._stream):
            uploaded = self.pinned(images).to(self._device, non_blocking=True)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        uploaded.record_stream(current)  # allocated on the other stream: no reuse before this stream is done
        return uploaded
