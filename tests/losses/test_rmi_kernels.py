"""The kernels of the region statistics against loops, and the Triton kernels against both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autolabel.losses.rmi_kernels_torch import FAST, PLAIN, triton_kernels
from tests.helpers.paths import ROOT


def maps(count: int, height: int, width: int) -> list[torch.Tensor]:
    """Two maps; weights and shifts of `spread`."""
    generator = torch.Generator().manual_seed(height * width)
    shapes = (count, height, width), (count, height, width), (count, height, 3, 30), (count, height, 3)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def cut_rows(p: torch.Tensor, y: torch.Tensor, row: int) -> torch.Tensor:
    """The six shifted rows of one pair of maps; zeros outside them."""
    width = p.shape[1] - 2
    if not 0 <= row < p.shape[0]:
        return torch.zeros(6, width, dtype=p.dtype)
    return torch.stack([of[row, shift : shift + width] for of in (p, y) for shift in range(3)])


@pytest.mark.parametrize("size", [(2, 3, 3), (1, 3, 9), (3, 7, 5)])
def test_against_loops(size: tuple[int, int, int]) -> None:
    p, y, weights, shifts = maps(*size)
    count, height, width = size
    products, sums = PLAIN.products(p, y)
    spread = PLAIN.spread(p, y, weights, shifts)
    for n in range(count):
        expected = torch.zeros(height, width, dtype=torch.float64)
        for r in range(height):
            near = [cut_rows(p[n], y[n], r + lag) for lag in range(-2, 3)]
            torch.testing.assert_close(products[n, r], near[2] @ torch.cat(near[2:]).T)
            torch.testing.assert_close(sums[n, r], near[2].sum(dim=1))
            v = weights[n, r] @ torch.cat(near) - shifts[n, r, :, None]
            for shift in range(3):
                expected[r, shift : shift + width - 2] += v[shift]
        torch.testing.assert_close(spread[n], expected)


_INTERPRETED = """
import torch
from tests.losses.test_rmi_kernels import *
fast = triton_kernels(torch.device("cpu"))
assert fast is not PLAIN  # they agreed on two maps of 5x90
for size in ((1, 3, 3), (1, 3, 140)):
    p, y, weights, shifts = maps(*size)
    torch.testing.assert_close(fast.products(p, y), PLAIN.products(p, y))
    torch.testing.assert_close(fast.spread(p, y, weights, shifts), PLAIN.spread(p, y, weights, shifts))

from tests.losses.plain_losses import example, plain_total
from autolabel.losses import rmi_kernels_torch, rmi_loss
FAST["cpu"] = triton_kernels
assert rmi_kernels_torch.kernels(torch.device("cpu")) is not PLAIN
logits, labels = example(13, 9, classes=1)
got, expected = ((loss(logits, labels),) for loss in (rmi_loss, plain_total))
torch.testing.assert_close(got, expected)
torch.testing.assert_close(torch.autograd.grad(got, logits), torch.autograd.grad(expected, logits))
"""


@pytest.mark.slow
def test_triton_kernels_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", _INTERPRETED], cwd=ROOT, env=environment, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90])
def test_triton_kernels_compile(architecture: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile to machine code, which needs no GPU: the interpreter accepts code that the compiler rejects."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from autolabel.losses import rmi_kernels_triton

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    sizes = {"num_rows": "i32", "height": "i32", "width": "i32"}
    kernels = {
        rmi_kernels_triton._products_kernel: (("maps", "out"), {"COLUMNS": rmi_kernels_triton.COLUMNS}),
        rmi_kernels_triton._spread_kernel: (
            ("maps", "weights", "shifts", "out"),
            {"PIXELS": rmi_kernels_triton.PIXELS},
        ),
    }
    for kernel, (tensors, constants) in kernels.items():
        signature = dict.fromkeys(tensors, "*fp64") | sizes | dict.fromkeys(constants, "constexpr")
        source = ASTSource(kernel, signature, constexprs=constants)
        assert triton.compile(source, target=GPUTarget("cuda", architecture, 32)).asm["cubin"]


def test_kernels_that_do_not_work_are_replaced() -> None:
    pytest.importorskip("triton")
    assert "cuda" in FAST
    with pytest.warns(RuntimeWarning, match="without its Triton kernels on cpu"):
        assert triton_kernels(torch.device("cpu")) is PLAIN  # Triton has no compiler for a CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_as_on_the_cpu() -> None:
    on_cpu = maps(6, 65, 129)
    on_gpu = [x.cuda() for x in on_cpu]
    for fast in (triton_kernels(on_gpu[0].device), PLAIN):
        for got, expected in zip(fast.products(*on_gpu[:2]), PLAIN.products(*on_cpu[:2]), strict=True):
            torch.testing.assert_close(got.cpu(), expected)
        torch.testing.assert_close(fast.spread(*on_gpu).cpu(), PLAIN.spread(*on_cpu))
