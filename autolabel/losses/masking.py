"""Valid pixels, their confidence, and the normaliser of a loss.

A loss is a sum divided by a normaliser. The two are separate, so that a batch may be processed in parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

FULL = 255  # confidence 1


def valid_pixels(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(B, H, W) bool: whether a label is a class; 255 and every other value outside 0..K-1 mean ignore."""
    return (labels >= 0) & (labels < num_classes)


def targets(labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, H, W) integer -> class index, int64 and 0 where ignored, and valid pixels, both (B, 1, H, W)."""
    valid = valid_pixels(labels, num_classes).unsqueeze(1)
    return torch.where(valid, labels.long().unsqueeze(1), 0), valid


def pixel_weights(valid: torch.Tensor, confidence: torch.Tensor | None) -> torch.Tensor:
    """(B, 1, H, W): `valid`, or float64 `valid` times the confidence, which is (B, H, W) uint8 with 255 = 1."""
    return valid if confidence is None else valid * (confidence.unsqueeze(1).double() / FULL)


class LossNormalizer(NamedTuple):
    """The normaliser of a batch. It is the sum, field by field, over the parts of the batch on all processes."""

    images: int
    valid: torch.Tensor  # 0-dim float64: pixels whose label names a class, or the sum of their confidence


def loss_normalizer(labels: torch.Tensor, num_classes: int, confidence: torch.Tensor | None = None) -> LossNormalizer:
    """The normaliser of labels (B, H, W), integer of any type; `confidence` is (B, H, W) uint8 with 255 = 1."""
    valid = valid_pixels(labels, num_classes)
    if confidence is None:
        return LossNormalizer(len(labels), valid.sum().double())
    return LossNormalizer(len(labels), confidence[valid].sum().double() / FULL)
