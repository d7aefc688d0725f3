"""Rounds of self-training: the graph, and a second round on top of the tiny run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.config.load import load_experiment
from autolabel.errors import ConfigError
from autolabel.flow.graph import load_pipeline
from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY, Tiny, call, call_json

ROUND = ["infer", "label", "audit", "fuse", "student"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(experiment_toml(TINY))
    return path


def test_one_round_is_the_pipeline_as_it_was(file: Path) -> None:
    pipeline = load_pipeline(load_experiment(file))
    assert list(pipeline.nodes) == ["manifest", "teacher", *ROUND, "evaluate-teacher", "evaluate-student", "report"]


def test_a_student_teaches_the_next_one(file: Path) -> None:
    pipeline = load_pipeline(load_experiment(file, ["rounds=3"]))
    for end, teacher in (("", "teacher"), ("-2", "student"), ("-3", "student-2")):
        codes, labels, audit, fused, student = (pipeline.nodes[f"{name}{end}"] for name in ROUND)
        assert codes.inputs["model"].name == audit.inputs["model"].name == teacher
        assert labels.inputs["codes"] is codes
        assert student.inputs["fused"] is fused
        assert fused.inputs["labels"] is student.inputs["labels"] is audit.inputs["labels"] is labels
        assert student.settings == pipeline.nodes["student"].settings
    assert [pipeline.nodes["compare-3"].inputs[name].name for name in ("before", "after")] == ["label-2", "label-3"]
    assert pipeline.headline is pipeline.nodes["evaluate-student-3"]


@pytest.mark.parametrize("pipeline", ["ablation", "fusions"])
def test_other_pipelines_have_no_rounds(file: Path, pipeline: str) -> None:
    with pytest.raises(ConfigError, match="only the pipeline teacher_student has rounds"):
        load_experiment(file, [f"pipeline={pipeline}", "rounds=2"])


def test_rounds_that_read_no_auto_labels_are_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="would train the same student"):
        load_pipeline(load_experiment(file, ["rounds=2", "fuse.layers=['fine']"]))


@pytest.mark.slow
def test_a_second_round(tiny: Tiny, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(tiny.work, work)
    result = call_json("run", tiny.file, "--work", work, "-q", "--set", "rounds=2")
    second = [f"{name}-2" for name in ROUND]
    assert result["made"] == [*second, "evaluate-student-2", "compare-2", "report"], "the first round stays as it is"
    assert set(result["students"]) == {"student", "student-2"}
    assert result["student_miou"] == result["students"]["student-2"]
    assert Path(result["labels"]["path"]).parts[-3] == "label-2"

    stages = call_json("status", tiny.file, "--work", work, "--set", "rounds=2")["stages"]
    paths = {stage["name"]: Path(stage["path"]) / "data" for stage in stages}

    found = json.loads((paths["compare-2"] / "comparison.json").read_text())
    pairs = []
    for file in sorted((paths["label"] / "labels").glob("*.png")):
        pairs.append([np.asarray(Image.open(path)) for path in (file, paths["label-2"] / "labels" / file.name)])
    before, after = (np.stack(maps) for maps in zip(*pairs, strict=True))
    assert len(before) == found["images"] == 5
    assert found["same"] == pytest.approx(np.mean(before == after))
    assert result["changes"]["compare-2"]["same"] == found["same"]
    assert found["coverage_after"] == pytest.approx(np.mean(after != 255))
    truths = [json.loads((paths[name] / "audit.json").read_text())["auto_truth"] for name in ("audit", "audit-2")]
    assert found["truth"] == {"before": truths[0]["accuracy"], "after": truths[1]["accuracy"]}
    page = Path(result["report"]).read_text()
    assert "Round 1 to 2" in page
    assert "student-2" in page
    assert "Rounds" not in Path(tiny.result["report"]).read_text()
    said = call("run", tiny.file, "--work", work, "--set", "rounds=2").stdout
    assert "of the pixels as in the round before" in said
