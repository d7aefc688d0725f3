"""Lazy maps: only the requested rows are computed.

A `LazyMap` supports the arithmetic of a tensor and `models.resize`, but computes nothing until `rows` requests a strip.
So the formula of a fusion gives fused logits strip by strip, and no map of full size ever exists. Two resizes in a row
become one resampling (`models.resample`), which is exact because both are linear.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from autolabel.models.resample import ResampleWeights, bilinear

_BLOCK = {"cpu": 24, "meta": 24}  # source columns per matrix product: a narrow block has few zeros in its matrix
_WHOLE = 1 << 30  # on other devices a few large products are faster


class LazyMap:
    """Base class; `like` is a tensor of the same type and device."""

    shape: tuple[int, int, int, int]
    like: Tensor
    fresh = True  # `rows` returns a new tensor, which the caller may overwrite

    def rows(self, top: int, bottom: int) -> Tensor:
        """Rows top ... bottom - 1: (B, C, bottom - top, W)."""
        raise TypeError(f"{type(self).__name__} has no rows")

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
    """A tensor."""

    fresh = False

    def __init__(self, values: Tensor) -> None:
        batch, channels, height, width = values.shape
        self.shape, self.like, self._values = (batch, channels, height, width), values, values

    def rows(self, top: int, bottom: int) -> Tensor:
        return self._values[:, :, top:bottom]

    def resized(self, size: tuple[int, int]) -> LazyMap:
        if self.shape[1] > 1:
            return super().resized(size)
        # One channel is small: resizing it at once costs less than strip by strip.
        return LazyLeaf(F.interpolate(self._values, size=size, mode="bilinear", align_corners=False))


class LazySum(LazyMap):
    """A pixelwise operation on two maps of one size (one may have a single channel), or on a map and a number."""

    def __init__(self, operation: Callable[..., Tensor], left: LazyMap, right: LazyMap | float) -> None:
        maps = [operand for operand in (left, right) if isinstance(operand, LazyMap)]
        assert len({operand.shape[2:] for operand in maps}) == 1, [operand.shape for operand in maps]
        batch, _, height, width = left.shape
        self.shape = (batch, max(operand.shape[1] for operand in maps), height, width)
        self.like = left.like
        self._operation, self._operands = operation, (left, right)

    def rows(self, top: int, bottom: int) -> Tensor:
        arguments: list[Tensor | float] = []
        out = None
        for operand in self._operands:
            if isinstance(operand, LazyMap):
                values = operand.rows(top, bottom)
                out = values if operand.fresh and operand.shape == self.shape else out
                arguments.append(values)
            else:
                arguments.append(operand)
        return self._operation(*arguments, out=out)


class LazyResize(LazyMap):
    """A map resampled along rows and columns."""

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
        return torch.matmul(self._tensor(matrix), self._resampled_columns(source))

    def _resampled_columns(self, source: Tensor) -> Tensor:
        """(B, C, r, w) -> (B, C, r, W)."""
        flat = source.reshape(-1, source.shape[-1])
        out = flat.new_empty((len(flat), len(self._across)))
        for start, low, matrix in self._columns:
            stop = start + matrix.shape[1]
            torch.mm(flat[:, low : low + matrix.shape[0]], matrix, out=out[:, start:stop])
        return out.view(*source.shape[:-1], -1)

    @cached_property
    def _columns(self) -> list[tuple[int, int, Tensor]]:
        """(first column, first source column, matrix (sources, columns)) per block of columns."""
        width = len(self._across)
        step = max(16, _BLOCK.get(self.like.device.type, _WHOLE) * width // self._across.source)
        blocks = [(start, *self._across.block(start, min(start + step, width))) for start in range(0, width, step)]
        return [(start, low, self._tensor(matrix.T.copy())) for start, low, matrix in blocks]

    def _tensor(self, matrix: object) -> Tensor:
        return torch.as_tensor(matrix).to(self.like)


def _subtracted_from(x: Tensor, number: float, *, out: Tensor | None) -> Tensor:
    """number - x"""
    return torch.neg(x, out=out).add_(number)
