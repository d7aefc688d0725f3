"""The two expensive steps of the region statistics, on rows of maps, in plain torch.

Row r of two maps, (N, h, w) each, makes six rows u: u[map, shift] = map[r, shift : shift + w - 2], shift 0..2.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
import torch.nn.functional as F

MARGIN = 2  # rows of zeros above and below a map, because the products of a row reach two rows further


class Kernels(NamedTuple):
    # two (N, h, w) -> products (N, h, 6, 18) of u[r] with u[r], u[r + 1], u[r + 2], zeros below the map; and sums
    # (N, h, 6) of u[r]
    products: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    # two (N, h, w), weights (N, h, 3, 30), shifts (N, h, 3) -> (N, h, w): v[r] = weights[r] (u[r - 2], .. u[r + 2])
    # - shifts[r], with zeros outside the map; the result sums v[r, shift], each at the columns of its shift
    spread: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@cache
def kernels(device: torch.device) -> Kernels:
    """The fastest kernels that work on a device."""
    return FAST[device.type](device) if device.type in FAST else PLAIN


def _products(p: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    count, height, _ = p.shape
    rows = _shifted_rows(p, y)
    products = p.new_empty(len(rows), 6, 18)
    torch.bmm(rows[:-MARGIN], _runs(rows, 3).mT, out=products[:-MARGIN])
    inner = slice(MARGIN, MARGIN + height)
    return products.unflatten(0, (count, -1))[:, inner], rows.sum(dim=2).unflatten(0, (count, -1))[:, inner]


def _spread(p: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    count, height, width = p.shape
    rows = _shifted_rows(p, y)
    # The run of five rows for a row starts two rows above it; runs that start in a lower margin are unused.
    padded = F.pad(weights, (0, 0, 0, 0, 0, 2 * MARGIN)).flatten(0, 1)
    out = p.new_empty(len(rows), 3, width - 2)
    torch.bmm(padded[: -2 * MARGIN], _runs(rows, 5), out=out[: -2 * MARGIN])
    spread = out.unflatten(0, (count, -1))[:, :height].sub_(shifts.unsqueeze(3))
    result = torch.zeros_like(p)
    for shift in range(3):
        result[:, :, shift : shift + width - 2] += spread[:, :, shift]
    return result


def _shifted_rows(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """u of every row, with margins: (N (h + 4), 6, w - 2)."""
    count, height, width = p.shape
    rows = p.new_empty(count, height + 2 * MARGIN, 6, width - 2)
    rows[:, :MARGIN] = 0
    rows[:, -MARGIN:] = 0
    for index, maps in enumerate((p, y)):
        for shift in range(3):
            rows[:, MARGIN:-MARGIN, 3 * index + shift] = maps[:, :, shift : shift + width - 2]
    return rows.flatten(0, 1)


def _runs(rows: torch.Tensor, length: int) -> torch.Tensor:
    """Overlapping view of `length` consecutive rows: (n, 6, w) -> (n - length + 1, 6 * length, w)."""
    count, six, width = rows.shape
    return rows.as_strided((count - length + 1, six * length, width), (six * width, width, 1))


PLAIN = Kernels(_products, _spread)


def triton_kernels(device: torch.device) -> Kernels:
    """The Triton kernels if they compile and agree with the plain ones, else the plain ones and a warning.

    Triton needs a compiler and a matching driver, and a training must not fail without them.
    """
    if find_spec("triton") is None:
        return PLAIN
    try:
        from autolabel.losses import rmi_kernels_triton

        fast = Kernels(rmi_kernels_triton.products, rmi_kernels_triton.spread)
        if _agree(fast, PLAIN, device):
            return fast
        reason = "different results"
    except Exception as error:
        reason = repr(error)
    warnings.warn(f"RMI loss without its Triton kernels on {device}: {reason}", RuntimeWarning, stacklevel=2)
    return PLAIN


FAST: dict[str, Callable[[torch.device], Kernels]] = {"cuda": triton_kernels}


def _agree(a: Kernels, b: Kernels, device: torch.device) -> bool:
    generator = torch.Generator().manual_seed(0)
    p, y, weights = torch.randn(3, 2, 5, 90, generator=generator, dtype=torch.float64).to(device)
    arguments = p, y, weights.view(2, 5, 3, 30), weights[:, :, :3]
    got, expected = ((*k.products(p, y), k.spread(*arguments)) for k in (a, b))
    return all(torch.allclose(x, y, rtol=1e-12, atol=1e-12) for x, y in zip(got, expected, strict=True))
