"""The one resize of the project's networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear with half-pixel centres (align_corners False), no antialias: (B, C, h, w) -> (B, C, *size).

    The size is always given, never a factor: the coordinate ratio is then exactly input size / output size.
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size of an image at `scale`: (floor(H s), floor(W s)), at least one pixel each."""
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
