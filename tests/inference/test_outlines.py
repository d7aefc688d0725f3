"""Outlines of operations, from which memory is counted: shape, type and layout are those that a CPU makes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autolabel.inference import outlines
from autolabel.inference.memory import LiveBytes
from tests.helpers.paths import ROOT


def maps(*size: int, last: bool = True) -> Tensor:
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.zeros(size).contiguous(memory_format=layout)


# The inputs are made on the CPU, then moved to the meta device with their strides.
OPERATIONS: dict[str, tuple[list[Tensor], Callable[..., Tensor]]] = {
    "conv": ([maps(2, 6, 9, 11), maps(4, 6, 3, 3)], lambda x, w: F.conv2d(x, w, stride=2, padding=1)),
    "conv of columns": ([maps(2, 6, 9, 11), maps(4, 6, 1, 3)], lambda x, w: F.conv2d(x, w, padding=(0, 2))),
    "dilated, grouped": ([maps(2, 6, 9, 11), maps(6, 1, 3, 3)], lambda x, w: F.conv2d(x, w, dilation=2, groups=6)),
    "conv of an image": ([maps(1, 3, 8, 8, last=False), maps(4, 3, 3, 3)], F.conv2d),
    "conv of rows": ([maps(1, 3, 8, 8)[:, :, 2:6], maps(4, 3, 3, 3)], F.conv2d),
    "plain conv": ([maps(1, 6, 8, 8, last=False), maps(4, 6, 1, 1, last=False)], F.conv2d),
    "resized": ([maps(2, 6, 4, 5)], lambda x: F.interpolate(x, size=(9, 7), mode="bilinear")),
    "plain, resized": ([maps(2, 6, 4, 5, last=False)], lambda x: F.interpolate(x, size=(9, 7), mode="bilinear")),
    "matrices": ([torch.zeros(4, 5), torch.zeros(5, 3)], torch.matmul),
    "a matrix and many": ([torch.zeros(4, 5), torch.zeros(2, 3, 5, 6)], torch.matmul),
    "many and a matrix": ([torch.zeros(2, 4, 5), torch.zeros(5, 3)], torch.matmul),
    "many matrices": ([torch.zeros(2, 4, 5), torch.zeros(2, 5, 3)], torch.matmul),
    "broadcast": ([torch.zeros(2, 1, 4, 5), torch.zeros(3, 5, 6)], torch.matmul),
    "vector": ([torch.zeros(4, 5), torch.zeros(5)], torch.matmul),
    "sum": ([maps(2, 6, 4, 5), maps(2, 6, 4, 5)], torch.add),
    "sum of two types": ([maps(2, 6, 4, 5), maps(2, 6, 4, 5).double()], torch.add),
    "sum with a bias": ([maps(2, 6, 4, 5), maps(1, 6, 1, 1)], torch.add),
    "scaled": ([maps(2, 6, 4, 5)], lambda x: x * 0.5),
    "scaled integers": ([torch.zeros(4, dtype=torch.int64)], lambda x: x * 0.5),
    "in place": ([maps(2, 6, 4, 5)], lambda x: x.add_(maps(1, 6, 1, 1).to(x.device)).mul_(2.0).relu_()),
    "out": (
        [torch.zeros(4, 5), torch.zeros(5, 3), torch.zeros(4, 6)],
        lambda x, y, z: torch.mm(x, y, out=z[:, 3:]),
    ),
    "concatenated": ([maps(2, 6, 4, 5), maps(2, 3, 4, 5)], lambda x, y: torch.cat([x, y], dim=1)),
    "rows concatenated": ([maps(1, 6, 4, 5), maps(1, 6, 2, 5)], lambda x, y: torch.cat([x, y], dim=2)),
    "vectors concatenated": ([torch.zeros(3), torch.zeros(2)], lambda x, y: torch.cat([x, y])),
    "softmax": ([torch.zeros(2, 6, 4)], lambda x: x.softmax(dim=-1)),
    "softmax along pixels": ([maps(2, 6, 4, 5)], lambda x: x.flatten(2).softmax(dim=-1)),
    "sigmoid": ([maps(2, 6, 4, 5)], torch.sigmoid),
    "softmax of halves": ([torch.zeros(2, 6).bfloat16()], lambda x: x.softmax(dim=-1, dtype=torch.float32)),
    "mean": ([maps(2, 6, 4, 5)], lambda x: x.mean(dim=(2, 3), keepdim=True)),
    "mean of all": ([maps(2, 6, 4, 5)], lambda x: x.mean(dim=(2, 3))),
    "norm": ([maps(2, 6, 4, 5), torch.zeros(6), torch.ones(6)], lambda x, m, v: F.batch_norm(x, m, v)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@torch.inference_mode()
def test_as_a_cpu_makes_it(name: str) -> None:
    inputs, operation = OPERATIONS[name]
    with LiveBytes() as counted:
        found = operation(*(torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta") for x in inputs))
    expected = operation(*inputs)
    assert (found.shape, found.dtype, found.device.type) == (expected.shape, expected.dtype, "meta")
    assert found.stride() == expected.stride()
    if name not in ("in place", "out"):
        assert counted.peak >= expected.untyped_storage().nbytes()


@torch.inference_mode()
def test_each_known_operation_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[object] = set()
    for func, known in list(outlines._OUTLINES.items()):
        monkeypatch.setitem(
            outlines._OUTLINES, func, lambda *args, f=func, k=known, **options: used.add(f) or k(*args, **options)
        )
    for inputs, operation in OPERATIONS.values():
        with LiveBytes():
            operation(*(x.to("meta") for x in inputs))
    assert used | {torch.ops.aten.upsample_bilinear2d.default} >= set(outlines._OUTLINES)


@pytest.mark.slow
def test_counting_imports_no_compiler() -> None:
    """Which takes two CPU seconds, more than the count itself."""
    code = """
import sys
from autolabel.config.networks import ModelConfig
from autolabel.inference.memory import MemoryCounter
from autolabel.models import build_model
from autolabel.models.skeleton import on_meta
with on_meta():
    model = build_model(ModelConfig(trunk="hrnet_tiny", head_channels=8, key_channels=4, attention_channels=4), 3)
assert MemoryCounter(model, (0.5, 1.0, 2.0)).count((512, 1024)) is not None
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
