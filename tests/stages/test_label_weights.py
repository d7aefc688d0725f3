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

    def student(*changes: str) -> bytes:
        options = [word for change in (*WEIGHED, *changes) for word in ("--set", change)]
        arguments = ("run", tiny.file, "--work", work, "-q", "--until", "student", *options)
        path = next(s["path"] for s in _steps(tiny, work, options, *arguments) if s["name"] == "student")
        return (Path(path) / "data/weights.safetensors").read_bytes()

    plain, weighed = student(), student("student.label_weights='probability'")
    assert plain != weighed
    labels = next(p for p in (work / "artefacts/label").iterdir() if (p / "data/weights.json").exists()) / "data"
    codes = next((work / "artefacts/infer").iterdir()) / "data"
    index = json.loads((labels / "weights.json").read_text())
    assert len(index) == 5
    book = Codebook.from_dict(json.loads((codes / "shards.json").read_text())["book"])
    shards = json.loads((codes / "shards.json").read_text())["shards"]
    for name in [s["name"] for s in shards if s["split"] == "train"]:
        shard = read_shard((codes / name).read_bytes())
        for image_id in shard.ids:
            found = np.asarray(Image.open(labels / index[image_id]["path"]))
            np.testing.assert_array_equal(found, confidence_table(book)[shard.codes(image_id)])


def _steps(tiny: Tiny, work: Path, options: list[str], *arguments: object) -> list[dict]:
    call_json(*arguments)
    return call_json("status", tiny.file, "--work", work, *options)["stages"]


def test_weights_that_nobody_writes_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    result = call("run", tiny.file, "--work", tmp_path, "-q", "--set", "student.label_weights='probability'")
    assert result.exit_code == 2
    assert "student.label_weights: the label sets hold no weights; set label.weights = true" in result.stderr
    assert not (tmp_path / "artefacts").exists()
