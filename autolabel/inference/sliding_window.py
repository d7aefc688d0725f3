"""Overlapping windows for large images: the network sees one window at a time, which bounds its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_GRID = 64  # windows start at multiples of this, so that lower scales and strides see the same pixel grid


class Window(NamedTuple):
    """A window along one axis, in pixels: the network sees start ... stop - 1, and first ... last - 1 are kept."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def kept(self) -> slice:
        """The kept pixels, in image coordinates."""
        return slice(self.first, self.last)

    @property
    def inner(self) -> slice:
        """The kept pixels, in window coordinates."""
        return slice(self.first - self.start, self.last - self.start)


def windows(length: int, size: int, overlap: int) -> list[Window]:
    """Windows of up to `size` pixels over an axis of `length`; neighbours overlap by at least `overlap`.

    Each of two neighbours keeps half of their overlap. So every pixel is kept once, and every kept pixel has half an
    overlap of context, except at the border of the image.
    """
    assert 0 <= overlap < size, (overlap, size)
    if length <= size:
        return [Window(0, length, 0, length)]
    grid = _GRID if size - overlap > _GRID else 1
    step = (size - overlap) // grid * grid
    starts = list(range(0, length - size, step))
    starts.append(min(starts[-1] + step, -(-(length - size) // grid) * grid))  # the last window is nearly whole
    stops = [min(start + size, length) for start in starts]
    cuts = [0, *((stop + start) // 2 for stop, start in zip(stops, starts[1:], strict=False)), length]
    return [Window(*bounds) for bounds in zip(starts, stops, cuts[:-1], cuts[1:], strict=True)]


def encode_by_windows(
    encode: Callable[[Tensor], Tensor], images: Tensor, *, size: tuple[int, int], overlap: int
) -> Tensor:
    """Codes (B, H, W) of images (B, H, W, 3): calls `encode` on windows of up to `size` (height, width).

    Images that fit into one window are encoded whole. The context of a pixel ends at its window, so the codes equal
    those of the whole image only if half the overlap covers the receptive field.
    """
    batch, height, width, _ = images.shape
    rows, columns = windows(height, size[0], overlap), windows(width, size[1], overlap)
    if len(rows) == len(columns) == 1:
        return encode(images)
    codes: Tensor | None = None
    for row in rows:
        for column in columns:
            part = encode(images[:, row.start : row.stop, column.start : column.stop].contiguous())
            if codes is None:
                codes = torch.empty((batch, height, width), dtype=part.dtype, device=part.device)
            codes[:, row.kept, column.kept] = part[:, row.inner, column.inner]
    assert codes is not None
    return codes
