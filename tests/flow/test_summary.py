from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.artifacts import TableRow, append_training_log
from autolabel.cli.run import print_quality, print_summary
from autolabel.config.schema import EvaluateConfig
from autolabel.config.sources import SyntheticConfig
from autolabel.flow import summary
from autolabel.flow.graph import Pipeline
from autolabel.flow.summary import failed_gates, summarise
from autolabel.stages.table import markdown
from autolabel.store import Artefact, open_draft
from tests.flow.small import idle_stage, made


def artefact(folder: Path, miou: float | None) -> Artefact:
    intervals = {"miou": None, "accuracy": None, "over": "images", "units": 30}
    return made(folder, miou=miou, images=30, intervals=intervals)


def pipeline(min_miou: float | None) -> Pipeline:
    p = Pipeline()
    student = p.add("student", idle_stage("student", "weights"), SyntheticConfig(source="synthetic"))
    evaluate = idle_stage("evaluate", "evaluation", model="weights")
    p.headline = p.add("evaluate-student", evaluate, EvaluateConfig(min_miou=min_miou), model=student)
    return p


@pytest.mark.parametrize(
    ("miou", "gate", "failed"),
    [(0.5, None, 0), (0.5, 0.5, 0), (0.5, 0.0, 0), (0.49, 0.5, 1), (None, None, 0), (None, 0.5, 1)],
)
def test_gates(tmp_path: Path, miou: float | None, gate: float | None, failed: int) -> None:
    lines = failed_gates(pipeline(gate), {"evaluate-student": artefact(tmp_path, miou)})
    figure = "undefined" if miou is None else f"{miou:.4f}"
    assert lines == [f"evaluate-student: mIoU {figure} is below evaluate.min_miou = {gate}"] * failed


def test_no_gate_without_an_evaluation(tmp_path: Path) -> None:
    assert failed_gates(pipeline(0.5), {}) == []
    assert failed_gates(Pipeline(), {"evaluate-student": artefact(tmp_path, 0.1)}) == []


def test_an_miou_that_is_not_defined_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Val labels may hold nothing but ignore."""
    summary = summarise(pipeline(None), {"evaluate-student": artefact(tmp_path, None)})
    assert summary == {"student_miou": None, "student_interval": None}
    print_summary(summary, ["evaluate-student"])
    out = capsys.readouterr().out
    assert "not defined" in out
    assert "interval" not in out


def test_a_figure_without_an_interval_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(summarise(pipeline(None), {"evaluate-student": artefact(tmp_path, 0.5)}), ["evaluate-student"])
    assert "student mIoU   0.5000  (too few images for an interval)" in capsys.readouterr().out


def test_a_quality_that_is_not_defined_has_no_word_on_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"accuracy": 0.5, "coverage": 0.9, "accuracy_interval": None}
    print_quality({**known, "own_accuracy": None, "own_coverage": 0.0, "own_accuracy_interval": None})
    all_pixels, own = capsys.readouterr().out.splitlines()
    assert all_pixels.endswith("(90.0 % of the pixels), too few images for an interval")
    assert own.strip() == "none right of the teacher's own (0.0 % of the pixels); people drew the others"


def test_a_table_without_intervals_says_why() -> None:
    row = TableRow(
        title="a", train_scales=[1.0], eval_scales=[1.0], miou=0.5, interval=None, trunk_cost=1, network_cost=1,
        steps=1, model="a",
    )  # fmt: skip
    assert markdown([row]).endswith("|\n\nmIoU without an interval: too few images for an interval.\n")
    assert "interval:" not in markdown([{**row, "interval": (0.4, 0.6)}])


def test_advice_is_part_of_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "advice" not in summarise(pipeline(None), {})
    monkeypatch.setattr(summary, "advice", lambda pipeline, artefacts: ["label more"])
    assert summarise(pipeline(None), {})["advice"] == ["label more"]


def test_the_step_of_a_training_takes_the_median_of_its_log(tmp_path: Path) -> None:
    draft = open_draft(tmp_path, "0" * 16)
    for seconds in (9, 1, 2):
        append_training_log(draft, {"kind": "step", "seconds": seconds})
    training = draft.commit(meta={}, provenance={})
    assert summary._step_seconds(training) == 2
    assert summary._step_seconds(None) is None
    assert summary._step_seconds(artefact(tmp_path / "no log", 0.5)) is None
