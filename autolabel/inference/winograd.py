"""3x3 convolutions with a quarter of the multiplications, for CPUs: Winograd's minimal filtering F(4x4, 3x3).

After Lavin and Gray, "Fast algorithms for convolutional neural networks" (arXiv 1509.09308). A tile of 6x6 inputs
gives 4x4 outputs. It is transformed along rows and columns and multiplied with the transformed kernel. The products are
summed over the channels and transformed back. For all tiles together these are 36 products of matrices. Planes of every
fourth column make the transforms products of large matrices, too. Strips of tiles bound the memory.

NaN and infinity in a tile make NaN or infinity of its outputs: broken weights and images do not look sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from autolabel.models.layers import Conv

_OUT, _IN = 4, 6  # outputs and inputs of a tile, along rows and along columns
# The points at which the polynomials of the construction are evaluated, with infinity. Of the sets tried, this one has
# one of the smallest errors, two to three times that of oneDNN's convolution; 0, 1, -1, 2, -2 has four times as much.
_POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-1, 2))
_AT_ONE = _IN * 1 + 1  # the product at point 1 of rows and columns: it adds to every output alike, as a bias does
# Measured on one thread of a Zen 4 CPU: 1.3 times as fast as oneDNN with 128 channels, 1.6 with 192, 2.2 with 384; with
# 96 channels the transforms take what the products save. With fewer tiles, reading 36 kernels takes too long.
_CHANNELS, _FEWEST_TILES = 128, 32
_TILES = 256  # of a strip, at least
# Larger kernels are transformed at each call: kept, they would add half a gigabyte to HRNet-W48.
_MOST_KEPT = 256 * 512 * 9  # values


class WinogradConv(nn.Conv2d):
    """A 3x3 convolution of stride 1 with zero padding. Small maps, and any map under autocast, run plainly.

    Its weights must not change, nor their type: the transformed kernels would stay those of the first ones.
    """

    products: Tensor | None  # (36, C, O), the transformed kernels; None: too large to be kept
    inward: Tensor
    outward: Tensor
    first_strip_only = False  # for counting memory: every strip takes the same

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 3, padding=1, bias=conv.bias is not None, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        outward, _, inward = transforms()
        for name, values in (("inward", inward), ("outward", outward)):
            self.register_buffer(name, values.to(conv.weight), persistent=False)
        products = self._transformed(torch.float64) if conv.weight.numel() <= _MOST_KEPT else None
        self.register_buffer("products", products, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H, W), channels last."""
        if not self.pays(x):
            return super().forward(x)
        size = len(x), self.out_channels, x.shape[2], x.shape[3]
        out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        return self._run(x, out, add=False)

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """total + conv(x), in the place of `total`; only where it `pays`."""
        return self._run(x, total, add=True)

    def transformed(self) -> Tensor:
        """(36, C, O) of the kernels."""
        return self._transformed(self.weight.dtype) if self.products is None else self.products

    def _transformed(self, dtype: torch.dtype) -> Tensor:
        """Computed in `dtype`; one product of matrices, so that it is cheap at each call."""
        kernel = transforms()[1]
        both = torch.einsum("ar,bc->barc", kernel, kernel).reshape(-1, 9).to(self.weight.device, dtype)
        rows = self.weight.detach().to(dtype).contiguous().view(-1, 9)
        products = torch.mm(both, rows.t()).to(self.weight.dtype)
        return products.view(_IN * _IN, self.out_channels, self.in_channels).transpose(1, 2)

    def pays(self, x: Tensor) -> bool:
        height, width = x.shape[-2:]
        same_type = x.dtype == self.weight.dtype and not torch.is_autocast_enabled("cpu")
        return same_type and -(-height // _OUT) * -(-width // _OUT) >= _FEWEST_TILES

    def _run(self, x: Tensor, out: Tensor, *, add: bool) -> Tensor:
        products = self.transformed()
        for image, found in zip(x, out, strict=True):
            strips = _Strips(self, products, image.permute(1, 2, 0), found.permute(1, 2, 0))
            for top in range(0, 1 if self.first_strip_only else x.shape[2], strips.height):
                strips.convolve(top, add=add)
        return out


class _Strips:
    """The maps of one strip of tiles, used again for the next: of an image `x` (H, W, C) for `out` (H, W, O)."""

    def __init__(self, conv: WinogradConv, products: Tensor, x: Tensor, out: Tensor) -> None:
        self._conv, self._products, self._x, self._out = conv, products, x, out
        height, width, channels = x.shape
        across = -(-width // _OUT)  # tiles
        down = min(-(-height // _OUT), -(-_TILES // across))
        self.height = _OUT * down
        self._planes = x.new_zeros(_IN, self.height + 2, across, channels)
        self._by_columns = torch.empty_like(self._planes)
        self._inputs = x.new_empty(_IN, _IN, down, across * channels)  # columns of a tile, rows, tiles
        self._sums = x.new_empty(_IN * _IN, down * across, conv.out_channels)
        self._by_rows = x.new_empty(_IN, down, _OUT, across * conv.out_channels)
        self._found = x.new_empty(_OUT, self.height, across, conv.out_channels)

    def convolve(self, top: int, *, add: bool) -> None:
        """Rows from `top` on."""
        conv = self._conv
        _fill(self._planes, self._x, top - 1)
        torch.mm(conv.inward, self._planes.flatten(1), out=self._by_columns.view(_IN, -1))
        down, line = self._inputs.shape[2:]
        inward, outward = conv.inward.expand(down, -1, -1), conv.outward.expand(down, -1, -1)
        for plane, inputs in zip(self._by_columns, self._inputs, strict=True):
            overlapping = plane.as_strided((down, _IN, line), (_OUT * line, line, 1))
            torch.bmm(inward, overlapping, out=inputs.transpose(0, 1))
        torch.bmm(self._inputs.view(_IN * _IN, -1, conv.in_channels), self._products, out=self._sums)
        if conv.bias is not None:
            self._sums[_AT_ONE] += conv.bias
        for sums, rows in zip(self._sums.view(_IN, _IN, down, -1), self._by_rows, strict=True):
            torch.bmm(outward, sums.transpose(0, 1), out=rows)
        torch.mm(conv.outward, self._by_rows.view(_IN, -1), out=self._found.view(_OUT, -1))
        self._write(self._out[top : top + self.height], add=add)

    def _write(self, out: Tensor, *, add: bool) -> None:
        for column, plane in enumerate(self._found):
            target = out[:, column::_OUT]
            found = plane[: len(out), : target.shape[1]]
            if add:
                target += found
            else:
                target.copy_(found)


def _fill(planes: Tensor, x: Tensor, top: int) -> None:
    """planes[b, i, j] = x[top + i, 4 j + b - 1], and 0 outside of x. Columns outside are 0 already."""
    low, high = max(0, top), min(len(x), top + planes.shape[1])
    planes[:, : low - top] = 0
    planes[:, high - top :] = 0
    for b, plane in enumerate(planes[:, low - top : high - top]):
        first = int(b == 0)  # the left neighbour of the first tile lies outside
        source = x[low:high, _OUT * first + b - 1 :: _OUT]
        count = min(plane.shape[1] - first, source.shape[1])
        plane[:, first : first + count] = source[:, :count]


def use_winograd(model: nn.Module) -> None:
    """Replace the convolutions of `model` that it makes faster, in place. Norms must be folded into them already."""
    for owner in list(model.modules()):
        for name, module in list(owner.named_children()):
            if isinstance(module, nn.Conv2d) and _is_suitable(module):
                setattr(owner, name, WinogradConv(module))


def _is_suitable(conv: nn.Conv2d) -> bool:
    shape = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode
    channels = min(conv.in_channels, conv.out_channels)
    is_plain = type(conv) in (nn.Conv2d, Conv)  # others may have a forward of their own
    is_exact = conv.weight.dtype in (torch.float32, torch.float64)  # oneDNN's bf16 is as fast
    return is_plain and is_exact and shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") and channels >= _CHANNELS


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """A^T (4, 6), G (6, 3) and B^T (6, 6) of Lavin and Gray, after Cook and Toom; float64.

    A and G evaluate polynomials at the points and at infinity; B interpolates, with the denominators left to G.
    """
    outward = [[p**i for p in _POINTS] + [Fraction(i == _OUT - 1)] for i in range(_OUT)]
    kernel, inward = [], []
    for p in _POINTS:
        others = [q for q in _POINTS if q != p]
        scale = Fraction(1)
        for q in others:
            scale *= p - q
        kernel.append([p**i / scale for i in range(3)])
        inward.append([*_with_roots(others), Fraction(0)])
    kernel.append([Fraction(0), Fraction(0), Fraction(1)])
    inward.append(_with_roots(_POINTS))
    a, g, b = (
        torch.tensor([list(map(float, row)) for row in rows], dtype=torch.float64) for rows in (outward, kernel, inward)
    )
    return a, g, b


def _with_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the polynomial with these roots, the lowest first."""
    found = [Fraction(1)]
    for root in roots:
        found = [low - root * high for low, high in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found
