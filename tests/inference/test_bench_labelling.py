"""The two paths of the benchmark do the same work: otherwise its ratios mean nothing."""

from __future__ import annotations

from pathlib import Path

import _codec
import _decision
import _dense
import _segformer
import numpy as np
import pytest
from _scopes import SCOPES


def test_fusion_and_decision() -> None:
    published, ours = (_decision.decision_work(kind, (96, 160), "cpu")() for kind in ("published", "ours"))
    assert (published != ours).mean() < 1e-3
    assert 0.2 < (ours == 255).mean() < 0.9
    assert len(np.unique(ours)) == 20


@pytest.mark.slow
def test_every_scope() -> None:
    result = _dense.measure("cpu", trunk="hrnet_tiny", size=(64, 128), images=1, memory=False)
    for scope in SCOPES:
        assert result[f"dense.{scope}_labels_differ"] < 1e-3
        assert result[f"dense.{scope}_classes"] > 5
        assert 0 < result[f"dense.{scope}_ignored"] < 0.9
        assert abs(result[f"dense.{scope}_ignored"] - result[f"dense.{scope}_ignored_published"]) < 1e-3


def test_segformer() -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    tiny = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    settings = {**tiny, "decoder_hidden_size": 64}
    result = _segformer.measure(settings=settings, size=(128, 256), scales=(0.5, 1.0), flip=True)
    assert max(result["segformer.labels_differ"], result["segformer.winners_differ"]) < 1e-3
    assert result["segformer.classes"] > 3
    assert 0 < result["segformer.ignored"] < 0.9


@pytest.mark.slow
def test_label_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_codec, "CAMVID", tmp_path)
    result = _codec.measure(size=(128, 256), images=1, rounds=1)
    assert 1 < result["codec.ratio"] < result["codec.archive_ratio"]
    assert result["codec.bytes_per_label"] * result["codec.ratio"] == pytest.approx(
        result["codec.pillow_bytes_per_label"]
    )
    assert min(result["codec.archive_time_ratio"], result["codec.time_ratio"]) > 0
    assert not any("camvid" in key for key in result)
