"""Runs one network at several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autolabel.inference.fused_decision import fused_logits
from autolabel.models import SegmentationModel
from autolabel.models.fusion import StridedOutput


@torch.no_grad()
def multiscale_logits(
    model: SegmentationModel, images: torch.Tensor, scales: Sequence[float], *, flip: bool = False
) -> torch.Tensor:
    """Fused logits (B, K, H, W) of normalised images (B, 3, H, W); softmax comes after.

    `scales` must contain 1.0, the output size, and suit the fusion (ConfigError). With `flip` the result is the mean
    with the logits of the horizontally flipped images. The model must be in eval mode; no gradient is kept.
    """
    return fused_logits(model.fusion, forward_views(model, images, scales, flip=flip))


def forward_views(
    model: SegmentationModel, images: torch.Tensor, scales: Sequence[float], *, flip: bool = False
) -> list[list[StridedOutput]]:
    """The maps of all scales, highest first; with `flip` also those of the flipped images, flipped back."""
    ordered = descending(scales)
    views = [model.raw_maps(images, ordered)]
    if flip:
        views.append([hflip(raw) for raw in model.raw_maps(images.flip(-1), ordered)])
    return views


def hflip(raw: StridedOutput) -> StridedOutput:
    attention = None if raw.attention is None else raw.attention.flip(-1)
    return raw._replace(logits=raw.logits.flip(-1), attention=attention)


def descending(scales: Sequence[float]) -> list[float]:
    return sorted(map(float, scales), reverse=True)
