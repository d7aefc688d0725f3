"""What a teacher can be: anything that gives evidence a pixel, and how that becomes codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from autolabel.inference.decision import decide, decide_probabilities
from autolabel.inference.fused import decide_fused
from autolabel.inference.multiscale import highest_first, raw_views
from autolabel.inference.prepare import prepare
from autolabel.inference.static import CudaGraphs, StaticPasses
from autolabel.labels.codes import CodeBook
from autolabel.models import Network, SegmentationModel


class ScaleEvidence(NamedTuple):
    """What one scale says by itself, and how much it counts."""

    values: Tensor  # (B, K or K + 1, h, w), as `Evidence.decide` takes them
    weight: Tensor  # (B, 1, H, W), summing to 1 over the scales at every pixel


class Evidence(Protocol):
    """Images are normalised, (B, 3, H, W); nothing keeps a gradient."""

    def codes(
        self, images: Tensor, book: CodeBook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        """Codes (B, H, W) of what all scales, and with `flip` the mirrored images, say together.

        The network runs under `autocast`; what it says is weighed and decided in float32.
        """
        ...

    def by_scale(self, images: Tensor, scales: Sequence[float]) -> dict[float, ScaleEvidence]: ...

    def decide(self, values: Tensor, book: CodeBook) -> Tensor:
        """Codes (B, h, w) of one scale's values."""
        ...


class ProbabilityModel(Protocol):
    """A network that is asked for probabilities: they must sum to 1 at every pixel, or nothing is decided."""

    def probabilities(self, images: Tensor, *, scale: float) -> Tensor:
        """(B, K, H, W) seen at one scale, or (B, K + 1, H, W) with the probability of no class last."""
        ...


@dataclass(frozen=True)
class LogitEvidence:
    """Our own networks: logits of every scale, weighed by attention."""

    model: SegmentationModel

    def codes(
        self, images: Tensor, book: CodeBook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        with torch.no_grad(), autocast:
            views = raw_views(self.model, images, scales, flip=flip)
        return decide_fused(self.model.fusion, views, book)

    @torch.no_grad()
    def by_scale(self, images: Tensor, scales: Sequence[float]) -> dict[float, ScaleEvidence]:
        maps = self.model.scale_maps(images, highest_first(scales))
        weights = self.model.fusion.weights(maps)
        return {m.scale: ScaleEvidence(m.logits, weights[m.scale]) for m in maps}

    def decide(self, values: Tensor, book: CodeBook) -> Tensor:
        return decide(values, book)


@dataclass(frozen=True)
class ProbabilityEvidence:
    """All others: the mean of the probabilities of every scale."""

    model: ProbabilityModel

    def codes(
        self, images: Tensor, book: CodeBook, scales: Sequence[float], *, flip: bool, autocast: torch.autocast
    ) -> Tensor:
        with autocast:
            mean = self.mean(images, scales, flip=flip)
        return decide_probabilities(mean, book)

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

    def decide(self, values: Tensor, book: CodeBook) -> Tensor:
        return decide_probabilities(values, book)


def _sum(maps: Iterable[Tensor]) -> Tensor:
    """One map of full size at a time beside the sum."""
    found = iter(maps)
    total = next(found).clone()
    for values in found:
        total += values
    return total


def evidence_of(
    model: Network, device: torch.device, dtype: torch.dtype = torch.float32, *, static: bool = False
) -> Evidence:
    """How this network is asked, in eval mode on the device: ours as a copy for convolutions in `dtype`, on CUDA and
    where `static` is asked for with passes that are compiled and recorded."""
    if not isinstance(model, SegmentationModel):
        return ProbabilityEvidence(model.to(device).eval())
    prepared = prepare(model, device, dtype)
    if static and device.type == "cuda":
        prepared.evidence = StaticPasses(prepared.evidence, CudaGraphs())  # type: ignore[method-assign]
    return LogitEvidence(prepared)
