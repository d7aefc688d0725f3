"""The one resize of the project's networks.

For decoders whose strides must divide the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F

from autolabel.models.lazy_rows import LazyMap

Map = TypeVar("Map", torch.Tensor, LazyMap)


def resize(x: Map, size: tuple[int, int]) -> Map:
    """Bilinear with half-pixel centres (align_corners False), no antialias: (B, C, h, w) -> (B, C, *size).

    The size is always given, never a factor: the coordinate ratio is then exactly input size / output size.
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
    """torch's own functions, because the length is a symbol while a network is exported for images of any size."""
    scaled: int = torch.sym_max(1, torch.sym_int(length * scale))
    return scaled


def statically_equal(ours: Sequence[int], theirs: Sequence[int]) -> bool:
    """Whether two sizes are the same; False where that depends on the image that an exported network will be given."""
    if all(isinstance(length, int) for length in (*ours, *theirs)):
        return tuple(ours) == tuple(theirs)
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # imports sympy: only while exporting

    return all(statically_known_true(a == b) for a, b in zip(ours, theirs, strict=True))


def pad_to_multiple(images: torch.Tensor, multiple: int) -> torch.Tensor:
    """(B, 3, H, W) -> the next multiples of height and width: zeros (the mean colour) below and to the right."""
    size = images.shape[-2], images.shape[-1]
    height, width = (-(-length // multiple) * multiple for length in size)
    if statically_equal((height, width), size):
        return images
    return F.pad(images, (0, width - size[1], 0, height - size[0]))


def crop_to_size(x: torch.Tensor, size: tuple[int, int], stride: int) -> torch.Tensor:
    """Of a map (B, C, h, w) of a padded image, what covers the image: (B, C, ceil(H / stride), ceil(W / stride))."""
    rows, columns = (-(-length // stride) for length in size)
    if isinstance(rows, int) and isinstance(columns, int):
        return x[..., :rows, :columns]
    # While a network is exported for any size: whether a view were contiguous would depend on the image.
    return torch.slice_copy(torch.slice_copy(x, 2, 0, rows), 3, 0, columns)
