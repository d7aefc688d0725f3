"""The benchmark's two paths do the same work: without that its ratios mean nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from labelling_parts import decision, dense


def test_fusion_and_decision() -> None:
    published, ours = decision.published((96, 160))(), decision.ours((96, 160))()
    assert (published != ours).mean() < 1e-3
    assert 0.2 < (ours == 255).mean() < 0.9
    assert len(np.unique(ours)) == 20


def test_disk_to_disk() -> None:
    result = dense.measure((64, 128), trunk="hrnet_tiny", images=1)
    assert result["dense.labels_differ"] < 1e-3
    assert result["dense.time_ratio"] > 0
    assert result["dense.classes"] > 5
    assert 0 < result["dense.ignored"] < 0.9
