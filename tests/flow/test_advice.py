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
from autolabel.store import Artefact, open_draft
from tests.data.manifest_rows import SYNTHETIC, image_row, label_row
from tests.flow.small import idle_stage, made

NO_INTERVALS = {"miou": None, "accuracy": None, "over": "images", "units": 0}


def pipeline() -> Pipeline:
    p = Pipeline()
    data = p.add("manifest", idle_stage("manifest", "manifest"), Config())
    teacher = p.add("teacher", idle_stage("teacher", "weights"), Config())
    student = p.add("student", idle_stage("student", "weights"), Config())
    labels = p.add("label", idle_stage("label", "labels"), Config())
    p.add("audit", idle_stage("audit", "audit", labels="labels"), Config(), labels=labels)
    evaluate = idle_stage("evaluate", "evaluation", data="manifest", model="weights")
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


def labels(
    folder: Path, ignored: float, never: list[str], threshold: float | str = 0.5, **audit: list[str]
) -> dict[str, Artefact]:
    """A label set and its audit."""
    return {
        "label": made(folder / "l", ignored_share=ignored, threshold=threshold),
        "audit": made(folder / "a", never_labelled=never, **audit),
    }


def test_a_student_below_its_teacher_is_said_with_the_interval(tmp_path: Path) -> None:
    teacher = [60 + i % 7 for i in range(30)]
    artefacts = results(tmp_path, teacher, [n - 20 for n in teacher])
    said = "the student is below its teacher: -20.0 points of mIoU{}; train it longer (student.epochs), or keep fewer "
    said += "labels (`autolabel thresholds EXPERIMENT`)"
    assert advice(pipeline(), artefacts) == [said.format(" (95 %: -20.0 to -20.0)")]
    del artefacts["manifest"]
    assert advice(pipeline(), artefacts) == [said.format("")], "nothing says which images belong together"
    few_groups = {**artefacts, "manifest": manifest(tmp_path / "other", 29)}
    assert advice(pipeline(), few_groups) == [said.format("")], "nor does a manifest of other images"


def test_no_line_contradicts_another(tmp_path: Path) -> None:
    """Labels that ignore much are not answered with a higher threshold, and few images not with a conclusion."""
    teacher = [60 + i % 7 for i in range(30)]
    artefacts = {**results(tmp_path, teacher, [n - 20 for n in teacher]), **labels(tmp_path, 0.69, ["train", "bus"])}
    much, missing, below = advice(pipeline(), artefacts)
    assert much == (
        "69.0 % of the pixels are ignored; `autolabel thresholds EXPERIMENT` shows what a lower label.threshold keeps "
        "and how much of it is right; a better teacher keeps more, too"
    )
    assert missing == (
        "no label holds a pixel of train, bus; give these classes a lower threshold in label.class_thresholds "
        "(`autolabel thresholds EXPERIMENT` shows what it keeps), or label images of them by hand "
        "(`autolabel next EXPERIMENT`)"
    )
    assert below == (
        "the student is below its teacher: -20.0 points of mIoU (95 %: -20.0 to -20.0); train it longer "
        "(student.epochs), or mend the labels first (above)"
    )
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
    (line,) = lines
    assert line.startswith("25 val images do not tell student and teacher apart: ")
    assert line.endswith("; hold more finely labelled images out for validation")


def test_networks_that_are_equally_good_are_not_told_apart(tmp_path: Path) -> None:
    (line,) = advice(pipeline(), results(tmp_path, [60] * 20, [60] * 20))
    assert "20 val images do not tell student and teacher apart: +0.0 points of mIoU (95 %: +0.0 to +0.0)" in line


@pytest.mark.parametrize("one", ["teacher", "student"])
def test_no_gain_without_two_figures(tmp_path: Path, one: str) -> None:
    """Val labels may hold nothing but ignore, and only one of the two networks may be there."""
    artefacts = results(tmp_path, [60] * 30, [40] * 30)
    undefined = made(tmp_path / "undefined", miou=None, images=30, intervals=NO_INTERVALS)
    assert advice(pipeline(), {**artefacts, f"evaluate-{one}": undefined}) == []
    del artefacts[f"evaluate-{one}"]
    assert advice(pipeline(), artefacts) == []


def test_two_teachers_are_not_compared(tmp_path: Path) -> None:
    p = pipeline()
    p.headline = p.nodes["evaluate-teacher"]
    assert advice(p, results(tmp_path, [60] * 30, [40] * 30)) == []


def test_groups_that_the_teacher_does_not_know_are_named(tmp_path: Path) -> None:
    text = (
        "the teacher does not know images like those of {}: it is far less sure there than on held-out images; label "
        "some of them by hand (`autolabel next EXPERIMENT`), or look at them (`autolabel review EXPERIMENT`)"
    )
    for number, (groups, said) in enumerate({"abcde": "a, b, c, d, e", "abcdefg": "a, b, c, d, e and 2 more"}.items()):
        artefacts = labels(tmp_path / str(number), 0.2, [], unknown_groups=list(groups))
        assert advice(pipeline(), artefacts) == [text.format(said)]


def test_the_last_round_counts(tmp_path: Path) -> None:
    p = pipeline()
    last = p.add("label-2", idle_stage("label", "labels"), Config())
    p.add("audit-2", idle_stage("audit", "audit", labels="labels"), Config(), labels=last)
    artefacts = labels(tmp_path, 0.9, ["train"])
    assert len(advice(p, artefacts)) == 2, "until there is a second one, that is the first"
    artefacts["audit-2"] = made(tmp_path / "second", never_labelled=["bus"])
    (line,) = advice(p, artefacts)
    assert line.startswith("no label holds a pixel of bus; "), "its labels were deleted, so nothing is said of them"


def test_too_few_images_are_said(tmp_path: Path) -> None:
    artefacts = results(tmp_path, [60] * 19, [70] * 19)
    said = "19 val images are too few to conclude anything from a mIoU; hold more finely labelled images out for "
    assert advice(pipeline(), artefacts) == [said + "validation"]
    alone = results(tmp_path / "one", [60], [70])
    assert advice(pipeline(), alone)[0].startswith("1 val image is too few to conclude anything")
    fewest = {**results(tmp_path / "more", [60] * 20, [70] * 20), "evaluate-teacher": alone["evaluate-teacher"]}
    assert advice(pipeline(), fewest)[0].startswith("1 val image is too few"), "the smaller number of the two"


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
