"""A student for which a pixel of an auto label counts as much as the teacher was sure of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import read_shard
from autolabel.labels.threshold import confidence_table
from tests.stages.tiny_pipeline import Tiny, call, call_json

pytestmark = pytest.mark.slow

WEIGHED = ["label.weights=true", "label.threshold=0", "label.coarse='off'"]


def test_weights_reach_the_student(tiny: Tiny, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(tiny.work, work)

    def run(*changes: str) -> dict[str, Path]:
        options = [word for change in (*WEIGHED, *changes) for word in ("--set", change)]
        call_json("run", tiny.file, "--work", work, "-q", "--until", "student", *options)
        stages = call_json("status", tiny.file, "--work", work, *options)["stages"]
        return {s["name"]: Path(s["path"]) / "data" for s in stages if s["path"]}

    plain, weighed = run(), run("student.label_weights='probability'")
    first, second = ((found["student"] / "weights.safetensors").read_bytes() for found in (plain, weighed))
    assert first != second
    labels, codes = weighed["label"], weighed["infer"]
    index = json.loads((labels / "weights.json").read_text())
    assert len(index) == 5
    book = Codebook.from_dict(json.loads((codes / "shards.json").read_text())["book"])
    shards = json.loads((codes / "shards.json").read_text())["shards"]
    for name in [s["name"] for s in shards if s["split"] == "train"]:
        shard = read_shard((codes / name).read_bytes())
        for image_id in shard.ids:
            found = np.asarray(Image.open(labels / index[image_id]["path"]))
            np.testing.assert_array_equal(found, confidence_table(book)[shard.codes(image_id)])


def test_weights_that_nobody_writes_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    result = call("run", tiny.file, "--work", tmp_path, "-q", "--set", "student.label_weights='probability'")
    assert result.exit_code == 2
    assert "student.label_weights: the label sets hold no weights; set label.weights = true" in result.stderr
    assert not (tmp_path / "artefacts").exists()
