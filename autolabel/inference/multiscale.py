"""One network at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from autolabel.models import SegmentationModel
from autolabel.models.fusion import ScaleMaps


class MultiscaleEvidence(NamedTuple):
    """What each scale saw and how much it counted."""

    fused: torch.Tensor  # (B, K, H, W)
    logits: dict[float, torch.Tensor]  # scale -> (B, K, h, w), each at its own scale's image size
    attention: dict[float, torch.Tensor]  # scale -> (B, 1, h, w) likewise; none of the highest scale
    weights: dict[float, torch.Tensor]  # scale -> (B, 1, H, W), summing to 1 over the scales at every pixel


@torch.no_grad()
def multiscale_logits(
    model: SegmentationModel, images: torch.Tensor, scales: Sequence[float], *, flip: bool = False
) -> torch.Tensor:
    """Fused logits (B, K, H, W) of normalised images (B, 3, H, W); softmax comes after.

    `scales` must hold 1.0, the output size, and suit the fusion (ConfigError). With `flip` the logits of the mirrored
    images, mirrored back, are averaged in. The model is expected in eval mode; no gradient is kept.
    """
    fused = model.fusion.fuse(_maps(model, images, scales))
    if flip:
        mirrored = model.fusion.fuse(_maps(model, images.flip(-1), scales))
        fused = (fused + mirrored.flip(-1)) / 2
    return fused


@torch.no_grad()
def multiscale_evidence(model: SegmentationModel, images: torch.Tensor, scales: Sequence[float]) -> MultiscaleEvidence:
    """As `multiscale_logits` without flip, with the parts it was fused from: for reports and pictures."""
    maps = _maps(model, images, scales)
    return MultiscaleEvidence(
        fused=model.fusion.fuse(maps),
        logits={m.scale: m.logits for m in maps},
        attention={m.scale: m.attention for m in maps if m.attention is not None},
        weights=model.fusion.weights(maps),
    )


def _maps(model: SegmentationModel, images: torch.Tensor, scales: Sequence[float]) -> list[ScaleMaps]:
    """Every scale's logits and attention at the size of the image that was fed in, highest scale first."""
    return model.scale_maps(images, sorted(map(float, scales), reverse=True))
