"""`thresholds`, `why` and `diff` on a real run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.stages.tiny_pipeline import Tiny, call, call_json

pytestmark = pytest.mark.xdist_group("tiny")


@pytest.mark.slow
def test_thresholds(tiny: Tiny, tmp_path: Path) -> None:
    evidence = json.loads((tiny.data("audit") / "audit.json").read_text())["evidence"]
    result = call_json("thresholds", tiny.file, "--work", tiny.work)
    assert result["images"] == 3
    for t, point in enumerate(evidence["thresholds"]):
        for name, row in point["classes"].items():
            assert result["classes"][name]["right"][t] == row["precision"]
            assert result["classes"][name]["kept"][t] == row["kept"]
    copy = tmp_path / "copy.toml"
    copy.write_text("# mine\n" + tiny.file.read_text())
    said = call("thresholds", copy, "--work", tiny.work, "--keep", "50%", "--write")
    assert said.exit_code == 0, said.output
    chosen = tomllib.loads(copy.read_text())["label"]["class_thresholds"]
    assert chosen
    assert copy.read_text().startswith("# mine\n")
    before = copy.read_bytes()
    said = call("thresholds", copy, "--work", tiny.work, "--max-error", "5%", "--write")
    assert "cannot be promised with" in said.stdout
    assert copy.read_bytes() == before, "nothing is promised, so nothing is written"
