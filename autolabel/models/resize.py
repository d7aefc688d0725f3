"""Resizing of maps, and padding of images to a multiple of a network's strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F

from autolabel.models.lazy_rows import LazyMap

Map = TypeVar("Map", torch.Tensor, LazyMap)


def resize(x: Map, size: tuple[int, int]) -> Map:
    """Bilinear with half-pixel centres (align_corners False), no antialias: (B, C, h, w) -> (B, C, *size).

    The argument is a size, never a factor, so that the coordinate ratio is exactly input size / output size.
    """
    if statically_equal(x.shape[-2:], size):
        return x
    if isinstance(x, LazyMap):
        return x.resized(size)
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size of an image at `scale`: (floor(H s), floor(W s)), at least one pixel each."""
    height, width = size
    return (height, width) if scale == 1 else (_scaled(height, scale), _scaled(width, scale))


def _scaled(length: int, scale: float) -> int:
    """Uses torch's functions, because the length is symbolic while a network is exported for images of any size."""
    scaled: int = torch.sym_max(1, torch.sym_int(length * scale))
    return scaled


def statically_equal(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two sizes are equal; False where that depends on the input of an exported network."""
    if all(isinstance(length, int) for length in (*first, *second)):
        return tuple(first) == tuple(second)
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # imports sympy: only while exporting

    return all(statically_known_true(a == b) for a, b in zip(first, second, strict=True))


def pad_to_multiple(images: torch.Tensor, divisor: int) -> torch.Tensor:
    """Pad (B, 3, H, W) with zeros (the mean colour) below and to the right, to multiples of `divisor`."""
    size = images.shape[-2], images.shape[-1]
    height, width = (-(-length // divisor) * divisor for length in size)
    if statically_equal((height, width), size):
        return images
    return F.pad(images, (0, width - size[1], 0, height - size[0]))


def crop_to_size(x: torch.Tensor, size: tuple[int, int], stride: int) -> torch.Tensor:
    """Crop the map (B, C, h, w) of a padded image to the image: (B, C, ceil(H / stride), ceil(W / stride))."""
    rows, columns = (-(-length // stride) for length in size)
    if isinstance(rows, int) and isinstance(columns, int):
        return x[..., :rows, :columns]
    # While a network is exported for any size, whether a view is contiguous would depend on the image.
    return torch.slice_copy(torch.slice_copy(x, 2, 0, rows), 3, 0, columns)
