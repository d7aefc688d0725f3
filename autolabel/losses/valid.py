"""Which pixels count."""

from __future__ import annotations

import torch


def valid_pixels(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(B, H, W) bool: labels that name a class; 255 and every other value outside 0..K-1 mean ignore."""
    return (labels >= 0) & (labels < num_classes)


def at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    """Losses are computed in float32 (or float64) whatever the network ran in."""
    return logits if logits.dtype == torch.float64 else logits.float()
