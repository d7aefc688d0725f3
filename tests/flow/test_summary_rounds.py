"""The summary of a run with two rounds of self-training, a table and people's corrections, from artefacts on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autolabel.artifacts import CORRECTED_FILE, append_training_log
from autolabel.config.base import Config
from autolabel.config.schema import EvaluateConfig
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.summary import summarise
from autolabel.store import Artefact, open_draft
from tests.flow.small import idle_stage, made


def pipeline(*, teachers: int = 1) -> Pipeline:
    """No step has the name of its stage: names mean nothing."""
    p = Pipeline()
    for number in range(teachers):
        teacher = p.add(f"t{number}", idle_stage("teacher", "weights"), Config())
    student = idle_stage("student", "weights", labels="labels", fused="fused")
    evaluate = idle_stage("evaluate", "evaluation", data="manifest", model="weights")
    data = p.add("m", idle_stage("manifest", "manifest"), Config())
    students, evaluations, labels = {}, {}, []
    for name in ("1", "2"):
        labels.append(p.add(f"l{name}", idle_stage("label", "labels"), Config()))
        p.add(f"a{name}", idle_stage("audit", "audit", labels="labels"), Config(), labels=labels[-1])
        fused = p.add(f"f{name}", idle_stage("fuse", "fused"), Config())
        students[name] = p.add(f"s{name}", student, Config(), labels=labels[-1], fused=fused)
        evaluations[f"round {name}"] = p.add(f"e{name}", evaluate, EvaluateConfig(), data=data, model=students[name])
    p.headline = evaluations["round 2"]
    p.add("e0", evaluate, EvaluateConfig(), data=data, model=teacher)
    compare = idle_stage("compare", "comparison", before="labels", after="labels")
    p.add("c", compare, Config(), before=labels[0], after=labels[1])
    p.add("x", idle_stage("table", "table", **{"models.*": "weights"}), Config(), models=students)
    shown: dict[str, Node] = {"round 1": evaluations["round 1"]}  # the other one is called by its step's name
    p.add("r", idle_stage("report", "report", **{"evaluations.*": "evaluation"}), Config(), evaluations=shown)
    return p


def evaluation(folder: Path, miou: float) -> Artefact:
    return made(folder, miou=miou, images=30, intervals={"miou": [miou - 0.1, miou + 0.1]})


def labels(folder: Path, count: int) -> Artefact:
    return made(folder, count=count, bytes=10 * count, pixels=100 * count, ignored_share=0.25, threshold=0.5)


def corrected(folder: Path, *pixels: int) -> Artefact:
    draft = open_draft(folder, "0" * 16)
    rows = [{"id": f"{n}", "base": None, "pixels": n, "author": "a", "time": "t", "corrections": "c"} for n in pixels]
    CORRECTED_FILE.write(draft, rows)  # type: ignore[arg-type]
    return draft.commit(meta={}, provenance={})


def training(folder: Path, *seconds: float) -> Artefact:
    draft = open_draft(folder, "0" * 16)
    for value in seconds:
        append_training_log(draft, {"kind": "step", "seconds": value})
    return draft.commit(meta={}, provenance={})


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artefact]:
    tmp_path = tmp_path_factory.mktemp("rounds")
    return {
        "e0": evaluation(tmp_path / "e0", 0.3),
        "e1": evaluation(tmp_path / "e1", 0.5),
        "e2": evaluation(tmp_path / "e2", 0.7),
        "l1": labels(tmp_path / "l1", 4),
        "l2": labels(tmp_path / "l2", 5),
        "f1": corrected(tmp_path / "f1", 100),
        "f2": corrected(tmp_path / "f2", 7, 9),
        "s1": training(tmp_path / "s1", 5.0, 1.0, 2.0),
    }


@pytest.fixture
def artefacts(on_disk: dict[str, Artefact]) -> dict[str, Artefact]:
    return dict(on_disk)


def test_students_are_called_as_in_the_report_and_the_headline_is_the_last(artefacts: dict[str, Artefact]) -> None:
    found = summarise(pipeline(), artefacts)
    assert found["students"] == {"round 1": 0.5, "s2": 0.7}
    assert found["student_intervals"] == {"round 1": [0.4, 0.6], "s2": [pytest.approx(0.6), pytest.approx(0.8)]}
    assert (found["student_miou"], found["student_interval"]) == (0.7, found["student_intervals"]["s2"])
    assert (found["teacher_miou"], found["teacher_interval"]) == (0.3, [pytest.approx(0.2), 0.4])


def test_no_teacher_stands_for_several(artefacts: dict[str, Artefact]) -> None:
    assert "teacher_miou" not in summarise(pipeline(teachers=2), artefacts)


def test_students_without_an_evaluation_are_left_out(artefacts: dict[str, Artefact]) -> None:
    """As in a run that stopped early."""
    del artefacts["e1"], artefacts["e2"]
    assert not {"students", "student_intervals", "student_miou"} & summarise(pipeline(), artefacts).keys()


def test_labels_are_those_that_the_headline_learns_from(artefacts: dict[str, Artefact], tmp_path: Path) -> None:
    path = str(artefacts["l2"].data)
    figures = {"count": 5, "bytes": 50, "ignored_share": 0.25}
    assert summarise(pipeline(), artefacts)["labels"] == {**figures, "path": path}
    del artefacts["l2"]
    assert summarise(pipeline(), artefacts)["labels"]["count"] == 4, "those of an earlier round until there are others"
    del artefacts["l1"]
    assert "labels" not in summarise(pipeline(), artefacts)
    without_student = pipeline()
    without_student.headline = None
    other = {"l1": labels(tmp_path, 6)}
    assert summarise(without_student, other)["labels"]["count"] == 6


def test_labels_come_with_the_figures_of_their_own_audit(artefacts: dict[str, Artefact], tmp_path: Path) -> None:
    figures = {"accuracy": 0.9, "coverage": 0.8}
    lists: dict[str, Any] = {"never_labelled": [], "unknown_groups": []}
    artefacts["a1"] = made(tmp_path / "a1", accuracy=0.1, coverage=0.2, **lists)
    assert "accuracy" not in summarise(pipeline(), artefacts)["labels"], "an audit of other labels says nothing"
    artefacts["a2"] = made(tmp_path / "a2", **figures, **lists)
    found = summarise(pipeline(), artefacts)["labels"]
    assert found == {"count": 5, "bytes": 50, "ignored_share": 0.25, **figures, "path": found["path"]}
    artefacts["a2"] = made(tmp_path / "unknown", accuracy=None, coverage=0.8, **lists)
    assert "coverage" not in summarise(pipeline(), artefacts)["labels"], "without a truth there are no figures"


def test_corrections_are_those_that_the_headline_learns_from(artefacts: dict[str, Artefact], tmp_path: Path) -> None:
    path = str(artefacts["f2"].data)
    assert summarise(pipeline(), artefacts)["corrected"] == {"images": 2, "pixels": 16, "path": path}
    artefacts["f2"] = made(tmp_path / "none")
    assert "corrected" not in summarise(pipeline(), artefacts)
    del artefacts["f2"]
    assert "corrected" not in summarise(pipeline(), artefacts)
    no_headline = pipeline()
    no_headline.headline = None
    assert "corrected" not in summarise(no_headline, artefacts)


def test_the_table_has_the_duration_of_a_step(artefacts: dict[str, Artefact], tmp_path: Path) -> None:
    rows = [{"title": "one", "model": "1"}, {"title": "two", "model": "2"}]
    artefacts["x"] = made(tmp_path / "x", rows=rows)
    found = summarise(pipeline(), artefacts)["table"]
    assert found["rows"] == [{**rows[0], "step_seconds": 2.0}, {**rows[1], "step_seconds": None}]
    assert found["path"] == str(artefacts["x"].data / "table.md")


def test_the_report_and_the_changes_of_a_round(artefacts: dict[str, Artefact], tmp_path: Path) -> None:
    assert not {"report", "changes", "table"} & summarise(pipeline(), artefacts).keys()
    artefacts["c"] = made(tmp_path / "c", same=0.9, agree=0.8)
    artefacts["r"] = made(tmp_path / "r")
    found = summarise(pipeline(), artefacts)
    assert found["changes"] == {"c": {"same": 0.9, "agree": 0.8}}
    assert found["report"] == str(artefacts["r"].data / "report.html")
