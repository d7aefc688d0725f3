"""Valid pixels, their weights, and the normaliser of a loss.

A loss is a sum divided by a normaliser. The two are separate, so that a batch may be processed in parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

FULL = 255  # confidence 1
RAREST = 1e-4  # a class counts as at least this frequent, which bounds its weight


def valid_pixels(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(B, H, W) bool: whether a label is a class; 255 and every other value outside 0..K-1 mean ignore."""
    return (labels >= 0) & (labels < num_classes)


def targets(labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, H, W) integer -> class index, int64 and 0 where ignored, and valid pixels, both (B, 1, H, W)."""
    valid = valid_pixels(labels, num_classes).unsqueeze(1)
    return torch.where(valid, labels.long().unsqueeze(1), 0), valid


def class_weights(frequencies: torch.Tensor, power: float) -> torch.Tensor:
    """Weights (K,) float32 of the classes: frequency^-power, scaled so that the mean weight of a pixel is 1.

    `frequencies` (K,) sum to 1; a class below 1e-4 counts as that frequent.
    """
    weights = frequencies.double().clamp(min=RAREST) ** -power
    return (weights / (weights * frequencies).sum()).float()


def pixel_weights(
    labels: torch.Tensor, per_class: torch.Tensor | None, confidence: torch.Tensor | None
) -> torch.Tensor | None:
    """Weights (B, H, W) float32 of the pixels: weight of the class (K,) times confidence (B, H, W) uint8 with 255 = 1.

    None where both are None: all weights are 1. Ignored pixels have any weight; no loss reads it.
    """
    if per_class is None:
        return None if confidence is None else confidence.float() / FULL
    weights = per_class[torch.where(valid_pixels(labels, len(per_class)), labels, 0).long()]
    return weights if confidence is None else weights * (confidence.float() / FULL)


class LossNormalizer(NamedTuple):
    """The normaliser of a batch. It is the sum, field by field, over the parts of the batch on all processes."""

    images: int
    valid: torch.Tensor  # 0-dim float64: number of pixels whose label is a class, or the sum of their weights


def loss_normalizer(labels: torch.Tensor, num_classes: int, weights: torch.Tensor | None = None) -> LossNormalizer:
    """The normaliser of labels (B, H, W), integer of any type; `weights` are those of `pixel_weights`."""
    valid = valid_pixels(labels, num_classes)
    total = valid.sum().double() if weights is None else weights[valid].sum(dtype=torch.float64)
    return LossNormalizer(len(labels), total)
