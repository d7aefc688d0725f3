"""Which pixels count.

What a loss is divided by, apart from what it is summed over: a batch may be worked on in parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

FULL = 255  # the weight of a pixel that counts 1


def valid_pixels(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(B, H, W) bool: labels that name a class; 255 and every other value outside 0..K-1 mean ignore."""
    return (labels >= 0) & (labels < num_classes)


def targets(labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, H, W) integer -> class to gather at, int64 and 0 where ignored, and which pixels count, both (B, 1, H, W)."""
    valid = valid_pixels(labels, num_classes).unsqueeze(1)
    return torch.where(valid, labels.long().unsqueeze(1), 0), valid


def pixel_weights(valid: torch.Tensor, confidence: torch.Tensor | None) -> torch.Tensor:
    """What each pixel counts, (B, 1, H, W): `valid`, or its `confidence` (B, H, W) uint8 with 255 = 1 as float64."""
    return valid if confidence is None else valid * (confidence.unsqueeze(1).double() / FULL)


class LossNormalizer(NamedTuple):
    """Of a whole batch. Counts of its parts, on whatever process, add up field by field."""

    images: int
    valid: torch.Tensor  # 0-dim float64: pixels whose label names a class, or the sum of their confidence


def loss_normalizer(labels: torch.Tensor, num_classes: int, confidence: torch.Tensor | None = None) -> LossNormalizer:
    """Of these labels, (B, H, W) integer of any type; `confidence` (B, H, W) uint8, 255 = 1."""
    valid = valid_pixels(labels, num_classes)
    if confidence is None:
        return LossNormalizer(len(labels), valid.sum().double())
    return LossNormalizer(len(labels), confidence[valid].sum().double() / FULL)
