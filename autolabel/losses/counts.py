"""What a loss is divided by, apart from what it is summed over: a batch may be worked on in parts."""

from __future__ import annotations

from typing import NamedTuple

import torch

from autolabel.losses.valid import FULL, valid_pixels


class Counts(NamedTuple):
    """Of a whole batch. Counts of its parts, on whatever process, add up field by field."""

    images: int
    valid: torch.Tensor  # 0-dim float64: pixels whose label names a class, or the sum of their confidence


def batch_counts(labels: torch.Tensor, num_classes: int, confidence: torch.Tensor | None = None) -> Counts:
    """Of these labels, (B, H, W) integer of any type; `confidence` (B, H, W) uint8, 255 = 1."""
    valid = valid_pixels(labels, num_classes)
    if confidence is None:
        return Counts(len(labels), valid.sum().double())
    return Counts(len(labels), confidence[valid].sum().double() / FULL)
