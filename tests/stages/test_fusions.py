"""The pipeline of Table 3: its graph, and a run on scenes of a few pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autolabel.config.load import load_experiment
from autolabel.config.schema import Experiment
from autolabel.flow.graph import Pipeline, load_pipeline
from autolabel.flow.keys import key_document, stage_key
from tests.helpers.experiments import ONE_CORE, experiment_toml, scenes
from tests.stages.tiny_pipeline import call, call_json

pytestmark = [pytest.mark.xdist_group("fusions"), pytest.mark.slow]  # one worker builds the fixture

EXPERIMENT = {
    "name": "fusions",
    "pipeline": "fusions",
    "data": scenes(48, 80, fine=4, coarse=0, val=2),
    "teacher": {
        "crop": [32, 32],
        "batch": 2,
        "epochs": 1,
        "epoch_images": 4,
        "optimizer": "adamw",
        "lr": 1e-3,
        "tile": 32,
        "model": {
            "trunk": "resnet_tiny_os16",
            "head": "deeplabv3plus",
            "key_channels": 4,
            "attention_channels": 4,
        },
    },
    "runtime": ONE_CORE,
}
THREE, FOUR = [0.5, 1.0, 2.0], [0.25, 0.5, 1.0, 2.0]
# Table 3 of the method: train scales, eval scales.
TABLE_3 = [([1.0], [1.0]), ([1.0], THREE), (THREE, THREE), ([0.5, 1.0], THREE), ([0.5, 1.0], FOUR)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("fusions") / "fusions.toml"
    file.write_text(experiment_toml(EXPERIMENT))
    return file


@pytest.fixture(scope="module")
def result(file: Path) -> dict[str, Any]:
    return call_json("run", file, "--work", file.parent / "work", "-q")


def build(file: Path, *overrides: str) -> tuple[Experiment, Pipeline]:
    experiment = load_experiment(file, overrides)
    return experiment, load_pipeline(experiment)


def test_three_trainings_that_differ_in_the_fusion_alone(file: Path) -> None:
    experiment, pipeline = build(file, "seed=7", "evaluate.flip=true")
    trainings = {node.settings.model.fusion: node for node in pipeline.of_stage("teacher")}
    assert list(trainings) == ["single", "explicit", "hierarchical"]
    for fusion, node in trainings.items():
        model = node.settings.model.model_copy(update={"fusion": experiment.teacher.model.fusion})
        assert node.settings.model_copy(update={"model": model}) == experiment.teacher, fusion
        assert node.seed == 7
    evaluations = {node.name: node for node in pipeline.of_stage("evaluate")}
    assert [list(node.settings.scales) for node in evaluations.values()] == [scales for _, scales in TABLE_3]
    assert all(node.settings.flip for node in evaluations.values())
    assert evaluations["evaluate-single"].inputs["model"] is evaluations["evaluate-average"].inputs["model"]
    assert pipeline.headline is evaluations["evaluate-hierarchical-four"]


def test_a_softmax_is_explicit_fusions_alone(file: Path) -> None:
    _, plain = build(file)
    _, soft = build(file, "teacher.model.softmax=true", 'teacher.model.fusion="explicit"')
    keys = [
        {node.name: stage_key(key_document(node, {"data": "0" * 64})) for node in pipeline.of_stage("teacher")}
        for pipeline in (plain, soft)
    ]
    assert {name for name in keys[0] if keys[0][name] != keys[1][name]} == {"teacher-explicit"}


def test_the_table_has_the_rows_of_the_published_one(result: dict[str, Any], file: Path) -> None:
    rows = result["table"]["rows"]
    assert [(row["train_scales"], row["eval_scales"]) for row in rows] == TABLE_3
    names = ("single", "average", "explicit", "hierarchical", "hierarchical-four")
    for row, name in zip(rows, names, strict=True):
        (evaluation,) = file.parent.glob(f"work/artefacts/evaluate-{name}/*/data/evaluation.json")
        assert row["miou"] == json.loads(evaluation.read_text())["miou"]
    assert [row["trunk_cost"] for row in rows] == pytest.approx([1, 1, 5.25, 1.25, 1.25], rel=0.02)
    single, average, explicit, three, four = (row["network_cost"] for row in rows)
    assert (single, average, three) == (1, 1, four)
    assert 1.25 < three < 1.6
    assert 5.25 < explicit < 7
    assert {row["steps"] for row in rows} == {2}, "one budget"
    assert all(row["step_seconds"] > 0 for row in rows)
    assert "teacher_miou" not in result
    assert "student_miou" not in result


def test_the_table_is_printed_and_kept(result: dict[str, Any], file: Path) -> None:
    again = call("run", file, "--work", file.parent / "work", "-q")
    lines = again.stdout.splitlines()
    assert lines[0] == "Everything is up to date: no work was done."
    assert lines[1].split("  ")[-1].strip() == "s/step"
    rows, kept = result["table"]["rows"], Path(result["table"]["path"])
    assert [line[:22].rstrip() for line in lines[2:7]] == [row["title"] for row in rows]
    assert f"{100 * rows[4]['miou']:.1f}" in lines[6]
    assert lines[7].startswith("mIoU without an interval: too few images")
    assert lines[8].split() == ["table", str(kept)]
    row = kept.read_text().splitlines()[4].split(" | ")
    assert row[:3] == ["| Explicit", "0.5, 1, 2", "0.5, 1, 2"]


def test_a_torn_line_of_a_log_costs_nothing(result: dict[str, Any], file: Path) -> None:
    (log,) = file.parent.glob("work/artefacts/teacher-explicit/*/log/metrics.jsonl")
    log.write_text('{"kind": "st{"kind": "step"}\n{"kind": "step", "seconds": 7.5}\n')
    again = call_json("run", file, "--work", file.parent / "work", "-q")
    assert again["table"]["rows"][2]["step_seconds"] == 7.5


def test_a_gate_judges_the_last_row(result: dict[str, Any], file: Path) -> None:
    gated = call("run", file, "--work", file.parent / "work", "-q", "--set", "evaluate.min_miou=0.99")
    assert gated.exit_code == 4
    assert "evaluate-hierarchical-four: mIoU" in gated.stderr
