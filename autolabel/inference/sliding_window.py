"""Huge pictures by overlapping windows: the network sees one window at a time, so that one bounds its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_GRID = 64  # windows begin where lower scales and strides of the network have a pixel of their own


class Window(NamedTuple):
    """Along one axis, in pixels: what is seen, and the part of it that is kept."""

    start: int
    stop: int
    first: int
    last: int  # exclusive

    @property
    def kept(self) -> slice:
        """Of the picture."""
        return slice(self.first, self.last)

    @property
    def inner(self) -> slice:
        """The same, of the window."""
        return slice(self.first - self.start, self.last - self.start)


def windows(length: int, size: int, overlap: int) -> list[Window]:
    """Windows of up to `size` pixels over an axis of `length`; neighbours share at least `overlap`.

    Each keeps its inner part: of what two of them share, either gets half. So every pixel is kept once, and all that is
    kept has half an overlap of context, but at the picture's own border.
    """
    assert 0 <= overlap < size, (overlap, size)
    if length <= size:
        return [Window(0, length, 0, length)]
    grid = _GRID if size - overlap > _GRID else 1
    step = (size - overlap) // grid * grid
    starts = list(range(0, length - size, step))
    starts.append(min(starts[-1] + step, -(-(length - size) // grid) * grid))  # the last one is a whole window, nearly
    stops = [min(start + size, length) for start in starts]
    cuts = [0, *((stop + start) // 2 for stop, start in zip(stops, starts[1:], strict=False)), length]
    parts = zip(starts, stops, cuts[:-1], cuts[1:], strict=True)
    return [Window(*part) for part in parts]


def encode_by_windows(
    decide: Callable[[Tensor], Tensor], pictures: Tensor, *, size: tuple[int, int], overlap: int
) -> Tensor:
    """Codes (B, H, W) of pictures (B, H, W, 3): `decide` window by window of up to `size` (height, width).

    A picture that fits into one is decided as it is. The context of a pixel ends with its window: codes are those of
    the whole picture where half the overlap holds all that the network looks at.
    """
    batch, height, width, _ = pictures.shape
    rows, columns = windows(height, size[0], overlap), windows(width, size[1], overlap)
    if len(rows) == len(columns) == 1:
        return decide(pictures)
    codes: Tensor | None = None
    for row in rows:
        for column in columns:
            part = decide(pictures[:, row.start : row.stop, column.start : column.stop].contiguous())
            if codes is None:
                codes = torch.empty((batch, height, width), dtype=part.dtype, device=part.device)
            codes[:, row.kept, column.kept] = part[:, row.inner, column.inner]
    assert codes is not None
    return codes
