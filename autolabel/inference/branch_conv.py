"""A convolution over branches of several resolutions, as if they were resized to the finest and concatenated.

Resizing commutes with what a convolution does across channels: a branch's own products are formed at its own
resolution, where a pixel counts for 4, 16 or 64, and resized after. Exact but for rounding; zero padding included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from autolabel.models.resize import resize
from autolabel.models.taps import Taps, bilinear

_TILE = 16  # rows and columns: what lies between the products stays in the cache


def resized_and_joined(branches: Sequence[Tensor]) -> Tensor:
    """(B, C_b, h_b, w_b) each -> (B, sum of C_b, h, w) at the size of the first."""
    size = branches[0].shape[-2], branches[0].shape[-1]
    return torch.cat([resize(x, size) for x in branches], dim=1)


class JoinedConv(nn.Module):
    """The plain form: branches are resized, concatenated and convolved."""

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert conv.in_channels == sum(channels), (conv.in_channels, channels)
        self.conv = conv

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        return self.conv(resized_and_joined(branches))


class PointwiseBranchConv(nn.Module):
    """A 1x1 convolution: a branch's own, then resized and added up."""

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert conv.kernel_size == (1, 1), conv.kernel_size
        parts = conv.weight.detach().split(list(channels), dim=1)
        self.convs = nn.ModuleList(
            conv_with(part, conv.bias if i == 0 else None) for i, part in enumerate(parts)
        )  # the bias once

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        total, *rest = (conv(x) for conv, x in zip(self.convs, branches, strict=True))
        for x in rest:
            total += resize(x, (total.shape[-2], total.shape[-1]))
        return total


class SpatialBranchConv(nn.Module):
    """A 3x3 convolution of stride 1, padded with zeros.

    Its nine products with a coarse branch are formed at that branch's resolution; resizing and shifting them are then
    linear maps along columns and along rows, done as small matrix products tile by tile. For CPUs: elsewhere the tiles
    are too small.
    """

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1)), conv
        finest, *coarse = conv.weight.detach().split(list(channels), dim=1)
        self.finest = conv_with(finest, conv.bias, padding=1)
        self.coarse = nn.ModuleList(nn.ModuleList(conv_with(row) for row in _kernel_rows(part)) for part in coarse)

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        finest, *coarse = branches
        out = self.finest(finest).contiguous(memory_format=torch.channels_last)
        for kernel_rows, x in zip(self.coarse, coarse, strict=True):
            for image, target in zip(x.split(1), out, strict=True):
                _add_branch(kernel_rows.children(), image, target.permute(1, 2, 0))
        return out


def conv_with(weight: Tensor, bias: Tensor | None = None, *, padding: int = 0) -> nn.Conv2d:
    """The convolution of these weights, channels last."""
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(inputs, outputs, (height, width), padding=padding, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight.clone(memory_format=torch.channels_last), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv


def _kernel_rows(weight: Tensor) -> list[Tensor]:
    """(O, C, 3, 3) -> for each row of the kernel, 1x1 weights (3 O, C, 1, 1), its columns one after the other."""
    return [weight[:, :, row].permute(2, 0, 1).flatten(0, 1)[:, :, None, None] for row in range(3)]


def _add_branch(kernel_rows: Iterable[nn.Module], x: Tensor, out: Tensor) -> None:
    """Add to `out` (H, W, O) the products with one image's branch `x` (1, C, h, w)."""
    height, width, outputs = out.shape
    convs = list(kernel_rows)
    down, across = bilinear(x.shape[2], height), bilinear(x.shape[3], width)
    tiles = [(start, *_shifted_block(across, start, start + _TILE)) for start in range(0, width, _TILE)]
    columns = [(start, low, _matrix(block.swapaxes(1, 2), x)) for start, low, block in tiles]
    for top in range(0, height, _TILE):
        low, block = _shifted_block(down, top, top + _TILE)
        rows = _matrix(block, x)  # (tile rows, 3 r)
        source = x[:, :, low : low + block.shape[2]]
        products = [conv(source)[0].permute(1, 2, 0).reshape(block.shape[2], -1, outputs) for conv in convs]
        for left, first, matrix in columns:
            used = slice(3 * first, 3 * first + matrix.shape[1])
            between = torch.stack([torch.matmul(matrix, product[:, used]) for product in products])
            tile = out[top : top + len(rows), left : left + len(matrix)]
            tile.view(len(rows), -1).addmm_(rows, between.view(rows.shape[1], -1))


def _shifted_block(taps: Taps, start: int, stop: int) -> tuple[int, np.ndarray]:
    """For targets start ... stop - 1, those before and those after them, zero beyond the ends: the first source
    position they need, and (targets, 3, sources) from there on."""
    stop = min(stop, len(taps))
    low, block = taps.block(max(0, start - 1), min(len(taps), stop + 1))
    padded = np.pad(block, ((start == 0, stop == len(taps)), (0, 0)))
    return low, np.stack([padded[:-2], padded[1:-1], padded[2:]], axis=1)


def _matrix(block: np.ndarray, like: Tensor) -> Tensor:
    """(targets, a, b) -> (targets, a b)."""
    return torch.from_numpy(block.reshape(len(block), -1)).to(like)
