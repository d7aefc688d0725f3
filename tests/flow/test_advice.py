"""Notes on results that need attention, from artefacts on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autolabel.artifacts import write_image_counts, write_manifest
from autolabel.config.base import Config
from autolabel.config.schema import EvaluateConfig
from autolabel.data.manifest import Manifest
from autolabel.flow.advice import advice
from autolabel.flow.graph import Pipeline
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.store import Artefact, open_draft
from tests.data.manifest_rows import SYNTHETIC, image_row, label_row

NO_INTERVALS = {"miou": None, "accuracy": None, "over": "images", "units": 0}


def stage(name: str, output: str, **inputs: str) -> Stage:
    def run(ctx: Context) -> StageResult:
        raise AssertionError("not run here")

    return Stage(name=name, version=1, output=output, inputs=inputs, run=run)


def pipeline() -> Pipeline:
    p = Pipeline()
    data = p.add("manifest", stage("manifest", "manifest"), Config())
    teacher = p.add("teacher", stage("teacher", "weights"), Config())
    student = p.add("student", stage("student", "weights"), Config())
    labels = p.add("label", stage("label", "labels"), Config())
    p.add("audit", stage("audit", "audit", labels="labels"), Config(), labels=labels)
    evaluate = stage("evaluate", "evaluation", data="manifest", model="weights")
    p.add("evaluate-teacher", evaluate, EvaluateConfig(), data=data, model=teacher)
    p.headline = p.add("evaluate-student", evaluate, EvaluateConfig(), data=data, model=student)
    return p


def evaluation(folder: Path, miou: float, right: list[int]) -> Artefact:
    """One class; each image has 100 labelled pixels, of which `right` are right."""
    draft = open_draft(folder, "0" * 16)
    counts = np.array([[[n, 100, n, 100]] for n in right])
    write_image_counts(draft, counts)
    return draft.commit(meta={"miou": miou, "images": len(right), "intervals": NO_INTERVALS}, provenance={})


def manifest(folder: Path, images: int) -> Artefact:
    draft = open_draft(folder, "0" * 16)
    rows = tuple(image_row(f"{i:03}", split="val", group=f"{i}") for i in range(images))
    labels = tuple(label_row(row.id) for row in rows)
    write_manifest(draft, Manifest(SYNTHETIC, rows, labels))
    return draft.commit(meta={}, provenance={})


def results(folder: Path, teacher: list[int], student: list[int]) -> dict[str, Artefact]:
    return {
        "manifest": manifest(folder / "m", len(teacher)),
        "evaluate-teacher": evaluation(folder / "t", float(np.mean(teacher)) / 100, teacher),
        "evaluate-student": evaluation(folder / "s", float(np.mean(student)) / 100, student),
    }


def labels(folder: Path, ignored: float, never: list[str], threshold: float | str = 0.5) -> dict[str, Artefact]:
    """A label set and its audit."""
    meta = {"ignored_share": ignored, "threshold": threshold}
    made = open_draft(folder / "l", "0" * 16).commit(meta=meta, provenance={})
    return {
        "label": made,
        "audit": open_draft(folder / "a", "0" * 16).commit(meta={"never_labelled": never}, provenance={}),
    }


def test_a_student_below_its_teacher_is_said_with_the_interval(tmp_path: Path) -> None:
    teacher = [60 + i % 7 for i in range(30)]
    (line,) = advice(pipeline(), results(tmp_path, teacher, [n - 20 for n in teacher]))
    assert line.startswith("the student is below its teacher: -20.0 points of mIoU (95 %: -20.0 to -20.0); train")
    assert "or keep fewer labels (`autolabel thresholds EXPERIMENT`)" in line


def test_no_line_contradicts_another(tmp_path: Path) -> None:
    """Labels that ignore much are not answered with a higher threshold, and few images not with a conclusion."""
    teacher = [60 + i % 7 for i in range(30)]
    made = {**results(tmp_path, teacher, [n - 20 for n in teacher]), **labels(tmp_path, 0.69, ["train"])}
    much, missing, below = advice(pipeline(), made)
    assert "69.0 % of the pixels are ignored; `autolabel thresholds EXPERIMENT` shows what a lower" in much
    assert "give these classes a lower threshold" in missing
    assert "below its teacher" in below
    assert "higher" not in much + missing + below
    few = {**results(tmp_path / "few", [60, 62], [40, 42]), **labels(tmp_path / "few", 0.2, [])}
    (line,) = advice(pipeline(), few)
    assert line.startswith("2 val images are too few to conclude anything")


def test_a_quantile_is_named_where_it_is_the_rule(tmp_path: Path) -> None:
    (line,) = advice(pipeline(), labels(tmp_path, 0.6, [], threshold="quantile"))
    assert "a lower label.quantile or label.quantile_range keeps" in line


def test_a_student_above_its_teacher_needs_no_word(tmp_path: Path) -> None:
    teacher = [60 + i % 7 for i in range(30)]
    assert advice(pipeline(), results(tmp_path, teacher, [n + 20 for n in teacher])) == []


def test_a_difference_within_the_noise_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    teacher, student = (rng.integers(30, 90, 25).tolist() for _ in range(2))
    lines = advice(pipeline(), results(tmp_path, teacher, student))
    assert any("25 val images do not tell student and teacher apart" in line for line in lines)


def test_too_few_images_are_said(tmp_path: Path) -> None:
    (line,) = advice(pipeline(), results(tmp_path, [60, 62, 61], [70, 72, 71]))
    assert line.startswith("3 val images are too few to conclude anything")


@pytest.mark.parametrize(
    ("ignored", "never", "words"),
    [
        (0.5, [], []),
        (0.69, [], ["69.0 % of the pixels are ignored"]),
        (0.5, ["train"], ["no label holds a pixel of train"]),
    ],
)
def test_labels(tmp_path: Path, ignored: float, never: list[str], words: list[str]) -> None:
    lines = advice(pipeline(), labels(tmp_path, ignored, never))
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))
