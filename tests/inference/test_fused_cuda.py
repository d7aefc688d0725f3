"""The CUDA kernel: its codes in Triton's interpreter, and its compilation for a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autolabel.inference.fused_decision import encode_fused
from autolabel.labels.codebook import Codebook
from autolabel.models.fusion import FUSIONS
from tests.helpers.paths import ROOT
from tests.inference.test_fused_decision import random_maps, single

pytest.importorskip("triton")

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from autolabel.inference.fused_cuda import _FIELDS, _encode_kernel
types = ["*fp32", "*fp32", "*i32", "*fp32", "*i64", "*fp32", "*fp32", "*u8", *["i32"] * 10, *["constexpr"] * 3]
constants = dict(BLOCK=64, CLASSES=32, FIELDS=_FIELDS)
source = ASTSource(
    _encode_kernel,
    dict(zip(_encode_kernel.arg_names, types, strict=True)),
    constexprs={(_encode_kernel.arg_names.index(name),): value for name, value in constants.items()},
)
options = {"enable_fp_fusion": True}
print(len(triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]))
"""


def run(arguments: list[str], **env: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_codes_in_the_interpreter() -> None:
    results = json.loads(run(["-m", "tests.inference.run_kernel"], TRITON_INTERPRET="1"))
    assert len(results) == 10
    for result in results:
        assert result["compared"] > 0
        assert result["differ"] == 0


@pytest.mark.slow
def test_it_compiles_for_a_gpu(tmp_path: Path) -> None:
    assert int(run(["-c", COMPILE], TRITON_CACHE_DIR=str(tmp_path))) > 1000


def test_tables_are_built_once_for_batches_of_one_shape() -> None:
    """They are on the device then: another batch copies nothing from the host."""
    from autolabel.inference.fused_cuda import _geometry, _tables

    terms = [FUSIONS["hierarchical"].terms(single(random_maps((0.5, 1.0), (16, 20), seed=seed))) for seed in (0, 1)]
    first, second = (_tables(tuple(map(_geometry, each)), torch.device("cpu")) for each in terms)
    assert first is second
    other = FUSIONS["hierarchical"].terms(single(random_maps((0.5, 1.0), (16, 24))))
    assert _tables(tuple(map(_geometry, other)), torch.device("cpu")) is not first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_codes_on_a_gpu_are_those_of_the_cpu() -> None:
    book = Codebook(19)
    maps = random_maps((0.25, 0.5, 1.0, 2.0), (256, 512), classes=19, batch=2)
    on_gpu = [m._replace(logits=m.logits.cuda(), attention=m.attention.cuda()) for m in single(maps)]
    codes = encode_fused(FUSIONS["hierarchical"], [on_gpu], book).cpu()
    expected = encode_fused(FUSIONS["hierarchical"], [single(maps)], book)
    assert (codes != expected).double().mean() < 1e-5
