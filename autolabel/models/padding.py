"""For decoders whose strides must divide the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from autolabel.models.resize import surely_equal


def pad_to_multiple(images: torch.Tensor, multiple: int) -> torch.Tensor:
    """(B, 3, H, W) -> the next multiples of height and width: zeros (the mean colour) below and to the right."""
    size = images.shape[-2], images.shape[-1]
    height, width = (-(-length // multiple) * multiple for length in size)
    if surely_equal((height, width), size):
        return images
    return F.pad(images, (0, width - size[1], 0, height - size[0]))


def cut_back(x: torch.Tensor, size: tuple[int, int], stride: int) -> torch.Tensor:
    """Of a map (B, C, h, w) of a padded image, what covers the image: (B, C, ceil(H / stride), ceil(W / stride))."""
    rows, columns = (-(-length // stride) for length in size)
    if isinstance(rows, int) and isinstance(columns, int):
        return x[..., :rows, :columns]
    # While a network is exported for any size: whether a view were contiguous would depend on the image.
    return torch.slice_copy(torch.slice_copy(x, 2, 0, rows), 3, 0, columns)
