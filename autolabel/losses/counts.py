"""What a loss is divided by, apart from what it is summed over: a batch may be worked on in parts."""

from __future__ import annotations

from typing import NamedTuple

import torch

from autolabel.losses.valid import valid_pixels


class Counts(NamedTuple):
    """Of a whole batch. Counts of its parts, on whatever process, add up field by field."""

    images: int
    valid: torch.Tensor  # 0-dim float64: pixels whose label names a class


def batch_counts(labels: torch.Tensor, num_classes: int) -> Counts:
    """Of these labels, (B, H, W) integer of any type."""
    return Counts(len(labels), valid_pixels(labels, num_classes).sum().double())
