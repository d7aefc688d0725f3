"""The benchmark of how codes are stored: every layout returns the codes, and the figures match the written bytes."""

from __future__ import annotations

from importlib.util import find_spec

import codes as bench
import numpy as np
import pytest

from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import write_shard


def test_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_seconds", lambda work, rounds: (work(), 1.0)[1])
    book, rng = Codebook(19), np.random.default_rng(0)
    small, large = (np.kron(rng.integers(0, 247, (6, 9)), np.ones((n, n))).astype(np.uint8) for n in (4, 40))
    result = bench.measure({"small": [small], "large": [large]}, book, 1)
    own = [name for name, layout in bench.LAYOUTS.items() if layout.plugin is None or find_spec("hdf5plugin")]
    assert "gzip6" in own
    assert {f"codes.{name}.bytes" for name in own} <= result.keys()
    assert result["codes.size_large.bytes"] == len(write_shard([("0", large)], book)) / large.size
    assert result["codes.size_large.gigabytes"] == pytest.approx(result["codes.size_large.bytes"] * 41.943, rel=1e-3)
    assert result["codes.size_large.bytes"] < result["codes.size_small.bytes"]
    assert result["codes.gzip6.read"] == pytest.approx(large.size / 1e6)
