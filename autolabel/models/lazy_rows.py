"""Maps of which only the rows asked for are computed.

A `LazyMap` takes part in the same arithmetic as a tensor and in `models.resize`, but nothing is computed until `rows`
asks for a strip of it; the fusions' own formulas then give fused logits strip by strip, and no map of full size ever
exists. Resizing a resized map is one resampling (`models.taps`): no product lies between, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from autolabel.models.resample import ResampleWeights, bilinear

_BLOCK = {"cpu": 24}  # source columns read together: the fewer, the fewer zeros in their matrix
_WHOLE = 1 << 30  # elsewhere few large products are faster


class LazyMap:
    """Base: `shape` (B, C, H, W), `like` (a tensor of its type and device), `rows`."""

    shape: tuple[int, int, int, int]
    like: Tensor
    fresh = True  # the rows are computed for whoever asked, who may overwrite them

    def rows(self, top: int, bottom: int) -> Tensor:
        """Rows top ... bottom - 1: (B, C, bottom - top, W)."""
        raise TypeError(f"{type(self).__name__} gives no rows")

    def resized(self, size: tuple[int, int]) -> LazyMap:
        return LazyResize(self, bilinear(self.shape[2], size[0]), bilinear(self.shape[3], size[1]))

    def __add__(self, other: LazyMap | float) -> LazyMap:
        return LazySum(torch.add, self, other)

    def __mul__(self, other: LazyMap | float) -> LazyMap:
        return LazySum(torch.mul, self, other)

    def __rsub__(self, other: float) -> LazyMap:
        return LazySum(_subtracted_from, self, other)

    def __truediv__(self, other: float) -> LazyMap:
        return LazySum(torch.div, self, other)

    __radd__ = __add__


class LazyLeaf(LazyMap):
    """A map that exists."""

    fresh = False

    def __init__(self, values: Tensor) -> None:
        batch, channels, height, width = values.shape
        self.shape, self.like, self._values = (batch, channels, height, width), values, values

    def rows(self, top: int, bottom: int) -> Tensor:
        return self._values[:, :, top:bottom]

    def resized(self, size: tuple[int, int]) -> LazyMap:
        if self.shape[1] > 1:
            return super().resized(size)
        # One channel is small: all of it at once costs less than strip by strip.
        return LazyLeaf(F.interpolate(self._values, size=size, mode="bilinear", align_corners=False))


class LazySum(LazyMap):
    """An operation on pixels: of maps of one size, of one of them with one channel, or of a map and a number."""

    def __init__(self, operation: Callable[..., Tensor], left: LazyMap, right: LazyMap | float) -> None:
        maps = [part for part in (left, right) if isinstance(part, LazyMap)]
        assert len({part.shape[2:] for part in maps}) == 1, [part.shape for part in maps]
        batch, _, height, width = left.shape
        self.shape = (batch, max(part.shape[1] for part in maps), height, width)
        self.like = left.like
        self._operation, self._parts = operation, (left, right)

    def rows(self, top: int, bottom: int) -> Tensor:
        operands: list[Tensor | float] = []
        out = None
        for part in self._parts:
            if isinstance(part, LazyMap):
                values = part.rows(top, bottom)
                out = values if part.fresh and part.shape == self.shape else out
                operands.append(values)
            else:
                operands.append(part)
        return self._operation(*operands, out=out)


class LazyResize(LazyMap):
    """Another map resampled along rows and columns."""

    def __init__(self, inner: LazyMap, down: ResampleWeights, across: ResampleWeights) -> None:
        self.shape = (*inner.shape[:2], len(down), len(across))
        self.like = inner.like
        self._inner, self._down, self._across = inner, down, across

    def resized(self, size: tuple[int, int]) -> LazyMap:
        _, _, height, width = self.shape
        down, across = bilinear(height, size[0]), bilinear(width, size[1])
        return LazyResize(self._inner, down.after(self._down), across.after(self._across))

    def rows(self, top: int, bottom: int) -> Tensor:
        low, matrix = self._down.block(top, bottom)
        source = self._inner.rows(low, low + matrix.shape[1])
        return torch.matmul(self._tensor(matrix), self._widened(source))

    def _widened(self, source: Tensor) -> Tensor:
        """(B, C, r, w) -> (B, C, r, W)."""
        flat = source.reshape(-1, source.shape[-1])
        out = flat.new_empty((len(flat), len(self._across)))
        for start, low, matrix in self._columns:
            stop = start + matrix.shape[1]
            torch.mm(flat[:, low : low + matrix.shape[0]], matrix, out=out[:, start:stop])
        return out.view(*source.shape[:-1], -1)

    @cached_property
    def _columns(self) -> list[tuple[int, int, Tensor]]:
        """(first column, first source column, matrix (sources, columns)) of every block of columns."""
        width = len(self._across)
        step = max(16, _BLOCK.get(self.like.device.type, _WHOLE) * width // self._across.source)
        blocks = [(start, *self._across.block(start, min(start + step, width))) for start in range(0, width, step)]
        return [(start, low, self._tensor(matrix.T.copy())) for start, low, matrix in blocks]

    def _tensor(self, matrix: object) -> Tensor:
        return torch.as_tensor(matrix).to(self.like)


def _subtracted_from(x: Tensor, number: float, *, out: Tensor | None) -> Tensor:
    """number - x"""
    return torch.neg(x, out=out).add_(number)
