"""The small form of the GPU benchmark runs on a CPU, so that it cannot rot."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

pytest.importorskip("transformers", reason="needs the extra hf")


@pytest.mark.slow
def test_every_section_gives_its_line() -> None:
    run = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--small", "--device", "cpu"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = {row.pop("section"): row for row in map(json.loads, run.stdout.splitlines())}
    assert len(rows) == 13
    assert not [row for row in rows.values() if "error" in row]
    assert rows["checks.memory"]["halvings"] == 2
    assert rows["checks.resume"]["weights_differ"] == 0
    assert rows["checks.precision"]["fp32.labels_differ"] == 0
    assert 0 < rows["speed.segformer"]["relative_error"] < 1e-4
    assert rows["speed.rmi"]["gradient_error"] < 1e-5


def test_an_unknown_section_is_named() -> None:
    run = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--small", "--only", "speed.decisions"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "no section speed.decisions" in run.stderr
