"""The kernels of `rmi_kernels_torch` in Triton: one pass over the maps, without temporaries of six times their size.

No two programs write to the same place, and sums have a fixed order, so every run gives the same bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

COLUMNS = 64  # of a row at a time, for up to 32 products
PIXELS = 128


@triton.jit
def _products_kernel(
    maps: tl.tensor, out: tl.tensor, num_rows: tl.tensor, height: tl.tensor, width: tl.tensor, COLUMNS: tl.constexpr
) -> None:
    """out[row, i, j] = u[row, i] . u[row + j // 6, j % 6]; out[row, i, 18] = sum of u[row, i]."""
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1)
    size = num_rows.to(tl.int64) * width
    j = tl.arange(0, 32)
    lag = j // 6
    inside = (j < 18) & (row % height + lag < height)
    left = maps + (i // 3) * size + row * width + i % 3
    right = maps + (j % 6 // 3) * size + (row + lag) * width + j % 3
    total = tl.zeros([32, COLUMNS], dtype=tl.float64)
    for start in range(0, width - 2, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        a = tl.load(left + column, mask=column < width - 2, other=0.0)
        b = tl.load(right[:, None] + column[None, :], mask=inside[:, None] & (column < width - 2)[None, :], other=0.0)
        total += a[None, :] * tl.where(j[:, None] == 18, 1.0, b)
    tl.store(out + (row * 6 + i) * 19 + j, tl.sum(total, axis=1), mask=j < 19)


@triton.jit
def _spread_kernel(
    maps: tl.tensor,
    weights: tl.tensor,
    shifts: tl.tensor,
    out: tl.tensor,
    num_rows: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    PIXELS: tl.constexpr,
) -> None:
    """out[row, c] = sum over shifts s of (weights[row, s] (u[row - 2], .. u[row + 2]) - shifts[row, s])[c - s]."""
    row = tl.program_id(0).to(tl.int64)
    size = num_rows.to(tl.int64) * width
    column = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    total = tl.zeros([PIXELS], dtype=tl.float64)
    for s in tl.static_range(3):
        place = column - s
        inside = (place >= 0) & (place < width - 2)
        value = tl.zeros([PIXELS], dtype=tl.float64) - tl.load(shifts + row * 3 + s)
        for j in tl.static_range(30):
            other_row = (
                row % height + (j // 6 - 2) + 0 * place
            )  # a vector, because Triton's interpreter needs a vector mask
            is_map = inside & (other_row >= 0) & (other_row < height)
            x = maps + (j % 6 // 3) * size + (row + (j // 6 - 2)) * width + place + j % 3
            value += tl.load(weights + (row * 3 + s) * 30 + j) * tl.load(x, mask=is_map, other=0.0)
        total += tl.where(inside, value, 0.0)
    tl.store(out + row * width + column, total, mask=column < width)


def products(p: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    count, height, width = p.shape
    out = p.new_empty(count, height, 6, 19)
    with torch.cuda.device_of(p):
        _products_kernel[(count * height, 6)](torch.stack((p, y)), out, count * height, height, width, COLUMNS=COLUMNS)
    return out[..., :18], out[..., 18]


def spread(p: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    count, height, width = p.shape
    out = torch.empty_like(p)
    grid = count * height, triton.cdiv(width, PIXELS)
    maps, weights, shifts = torch.stack((p, y)), weights.contiguous(), shifts.contiguous()
    with torch.cuda.device_of(p):
        _spread_kernel[grid](maps, weights, shifts, out, count * height, height, width, PIXELS=PIXELS)
    return out
