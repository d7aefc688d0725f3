"""Which pixels count."""

from __future__ import annotations

import torch


def valid_pixels(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(B, H, W) bool: labels that name a class; 255 and every other value outside 0..K-1 mean ignore."""
    return (labels >= 0) & (labels < num_classes)
