"""Convolutions over branches of several resolutions, without their concatenation, some rows at a time.

Resizing commutes with the channel products of a convolution, so the products are formed at a branch's own resolution,
where a pixel stands for 4, 16 or 64, and resized after.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from autolabel.models.layers import at_least_float32, without_autocast
from autolabel.models.resample import ResampleWeights, bilinear
from autolabel.models.resize import resize

TILE = 16  # rows and columns; intermediate results of a tile fit the cache
_WASTE = 1.5  # rows made for each row used, above which rows are combined by a product of matrices


class Rows(NamedTuple):
    """Rows top ... bottom - 1 of the maps that are made."""

    top: int
    bottom: int


def resize_and_concatenate(branches: Sequence[Tensor]) -> Tensor:
    """(B, C_b, h_b, w_b) each -> (B, sum of C_b, h, w) at the size of the first."""
    size = branches[0].shape[-2], branches[0].shape[-1]
    return torch.cat([resize(x, size) for x in branches], dim=1)


class ConcatConv(nn.Module):
    """Resizes, concatenates and convolves the branches: the plain form."""

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert conv.in_channels == sum(channels), (conv.in_channels, channels)
        self.conv = conv

    def forward(self, branches: Sequence[Tensor], rows: Rows | None = None) -> Tensor:
        """(B, O, h, w); it makes all rows at once."""
        assert rows in (None, (0, branches[0].shape[-2])), rows
        output: Tensor = self.conv(resize_and_concatenate(branches))
        return output


class PointwiseBranchConv(nn.Module):
    """A 1x1 convolution per branch; the results are resized and summed."""

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert conv.kernel_size == (1, 1), conv.kernel_size
        parts = conv.weight.detach().split(list(channels), dim=1)
        self.convs = nn.ModuleList(
            conv_with(part, conv.bias if i == 0 else None) for i, part in enumerate(parts)
        )  # the bias once

    def forward(self, branches: Sequence[Tensor], rows: Rows | None = None) -> Tensor:
        """(B, O, rows, w); all rows by default."""
        finest, *coarse = branches
        rows = rows or Rows(0, finest.shape[-2])
        first, *others = self.convs
        total: Tensor = first(finest[:, :, rows.top : rows.bottom])
        for conv, x in zip(others, coarse, strict=True):
            total += _resized_rows(conv, x, (finest.shape[-2], finest.shape[-1]), rows)
        return total


def _resized_rows(conv: nn.Module, x: Tensor, size: tuple[int, int], rows: Rows) -> Tensor:
    """Some rows of resize(conv(x), size)."""
    if rows == (0, size[0]):
        return resize(cast(Tensor, conv(x)), size)
    ratio, remainder = divmod(size[0], x.shape[-2])
    low, high = max(0, rows.top // ratio - 1), min(x.shape[-2], -(-rows.bottom // ratio) + 1)
    if remainder or (high - low) * ratio > _WASTE * (rows.bottom - rows.top):
        low, block = bilinear(x.shape[-2], size[0]).block(*rows)
        source = conv(x[:, :, low : low + block.shape[1]])
        return _combined_rows(resize(source, (source.shape[-2], size[1])), block)
    # Resizing a part by the same ratio gives the same numbers, except near the ends of the part.
    part: Tensor = resize(cast(Tensor, conv(x[:, :, low:high])), ((high - low) * ratio, size[1]))
    return part[:, :, rows.top - low * ratio : rows.bottom - low * ratio]


def _combined_rows(x: Tensor, block: np.ndarray) -> Tensor:
    """Weights (targets, r) and maps (B, C, r, w), channels last -> (B, C, targets, w), channels last."""
    weights = torch.from_numpy(block).to(x)
    flat = x.permute(0, 2, 3, 1).reshape(len(x), x.shape[2], -1)
    combined = torch.matmul(weights, flat).view(len(x), len(block), x.shape[3], x.shape[1])
    return combined.permute(0, 3, 1, 2)


class SpatialBranchConv(nn.Module):
    """A 3x3 convolution of stride 1 with zero padding.

    Its nine products with a coarse branch are formed at the resolution of that branch; resizing and shifting them are
    linear maps along columns and rows, computed tile by tile as small matrix products. For CPUs only: on other devices
    the tiles are too small to pay. The sum over the branches is at least float32.
    """

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1)), conv
        finest, *coarse = conv.weight.detach().split(list(channels), dim=1)
        self.finest = conv_with(finest, conv.bias, padding=1)
        self.coarse = nn.ModuleList(nn.ModuleList(conv_with(row) for row in _kernel_rows(part)) for part in coarse)

    def forward(self, branches: Sequence[Tensor], rows: Rows | None = None) -> Tensor:
        """(B, O, rows, w); all rows by default."""
        finest, *coarse = branches
        height = finest.shape[-2]
        rows = rows or Rows(0, height)
        out = self._of_finest(finest, rows)
        for kernel_rows, x in zip(self.coarse, coarse, strict=True):
            for image, target in zip(x.split(1), out, strict=True):
                _add_branch(kernel_rows.children(), image, target.permute(1, 2, 0), rows, height)
        return out

    def _of_finest(self, finest: Tensor, rows: Rows) -> Tensor:
        low, high = max(0, rows.top - 1), min(finest.shape[-2], rows.bottom + 1)
        convolved = self.finest(finest[:, :, low:high])[:, :, rows.top - low : rows.bottom - low]
        return at_least_float32(convolved).contiguous(memory_format=torch.channels_last)


class SpatialBranchOutline(nn.Module):
    """The maps that a `SpatialBranchConv` makes, with other values: without its many tiles, for counting memory."""

    def __init__(self, conv: SpatialBranchConv) -> None:
        super().__init__()
        self._conv = conv

    def forward(self, branches: Sequence[Tensor], rows: Rows) -> Tensor:
        """(B, O, rows, w)"""
        finest, *coarse = branches
        out = self._conv._of_finest(finest, rows)
        for kernel_rows, x in zip(self._conv.coarse, coarse, strict=True):
            source = x[:1, :, : 2 + _group(x.shape[2], finest.shape[2]) * x.shape[2] // finest.shape[2]]
            products = [at_least_float32(conv(source)) for conv in kernel_rows.children()]
            del products
        return out


def conv_with(weight: Tensor, bias: Tensor | None = None, *, padding: int = 0) -> nn.Conv2d:
    """A convolution with these weights, channels last."""
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(inputs, outputs, (height, width), padding=padding, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight.clone(memory_format=torch.channels_last), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv


def _kernel_rows(weight: Tensor) -> list[Tensor]:
    """(O, C, 3, 3) -> for each kernel row, 1x1 weights (3 O, C, 1, 1) with its columns one after another."""
    return [weight[:, :, row].permute(2, 0, 1).flatten(0, 1)[:, :, None, None] for row in range(3)]


def _add_branch(kernel_rows: Iterable[nn.Module], x: Tensor, out: Tensor, rows: Rows, height: int) -> None:
    """Add to `out` (rows, W, O), some rows of `height`, the products with one image's branch `x` (1, C, h, w)."""
    _, width, outputs = out.shape
    convs = list(kernel_rows)
    down, across = bilinear(x.shape[2], height), bilinear(x.shape[3], width)
    tiles = [(start, *_shifted_block(across, start, start + TILE)) for start in range(0, width, TILE)]
    columns = [(start, low, _matrix(block.swapaxes(1, 2), out)) for start, low, block in tiles]
    # Neighbouring tiles share source rows; of a coarse branch several tiles are formed together.
    group = _group(x.shape[2], height)
    for start in range(rows.top, rows.bottom, group):
        stop = min(start + group, rows.bottom)
        first_row, block = _shifted_block(down, start, stop)
        source = x[:, :, first_row : first_row + block.shape[2]]
        products = [
            at_least_float32(conv(source))[0].permute(1, 2, 0).reshape(block.shape[2], -1, outputs) for conv in convs
        ]
        for top in range(start, stop, TILE):
            low, block = _shifted_block(down, top, min(top + TILE, stop))
            used_rows = slice(low - first_row, low - first_row + block.shape[2])
            target = out[top - rows.top : top - rows.top + len(block)]
            _add_tiles([product[used_rows] for product in products], _matrix(block, out), columns, target)


def _group(source: int, height: int) -> int:
    """Rows whose products are formed together, of a branch with `source` rows."""
    return TILE * max(1, height // (2 * source))


def _add_tiles(
    products: Sequence[Tensor], weights: Tensor, columns: Sequence[tuple[int, int, Tensor]], out: Tensor
) -> None:
    """Add to `out` (tile rows, W, O); products (r, 3 w, O) per kernel row, weights (tile rows, 3 r)."""
    rows = len(products[0])
    with without_autocast(out.device):
        between = out.new_empty(len(products), rows, TILE, out.shape[2])  # stays in the cache
        for left, first, matrix in columns:
            used = slice(3 * first, 3 * first + matrix.shape[1])
            if len(matrix) < TILE:  # the last tile of a row
                between = out.new_empty(len(products), rows, len(matrix), out.shape[2])
            for product, part in zip(products, between, strict=True):
                torch.bmm(matrix.expand(rows, -1, -1), product[:, used], out=part)
            tile = out[:, left : left + len(matrix)]
            tile.view(len(weights), -1).addmm_(weights, between.view(weights.shape[1], -1))


def _shifted_block(weights: ResampleWeights, start: int, stop: int) -> tuple[int, np.ndarray]:
    """Weights of targets start ... stop - 1 and of their previous and next neighbours, zero beyond the ends.

    Returns the first source position in use and the weights (targets, 3, sources) from there on.
    """
    stop = min(stop, len(weights))
    low, block = weights.block(max(0, start - 1), min(len(weights), stop + 1))
    padded = np.pad(block, ((start == 0, stop == len(weights)), (0, 0)))
    return low, np.stack([padded[:-2], padded[1:-1], padded[2:]], axis=1)


def _matrix(block: np.ndarray, like: Tensor) -> Tensor:
    """(targets, a, b) -> (targets, a b)."""
    return torch.from_numpy(block.reshape(len(block), -1)).to(like)
