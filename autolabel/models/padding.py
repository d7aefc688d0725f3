"""For decoders whose strides must divide the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pad_to_multiple(images: torch.Tensor, multiple: int) -> torch.Tensor:
    """(B, 3, H, W) -> the next multiples of height and width: zeros (the mean colour) below and to the right."""
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return F.pad(images, (0, right, 0, below)) if below or right else images


def cut_back(x: torch.Tensor, padded: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Of a map (B, C, h, w) of a padded image, what covers the image: (B, C, ceil(H / stride), ceil(W / stride))."""
    rows, columns = (-(-n * length // full) for n, length, full in zip(x.shape[-2:], size, padded, strict=True))
    return x[..., :rows, :columns]
