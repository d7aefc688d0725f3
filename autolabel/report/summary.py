"""The top of the report: headline figures and a summary in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from autolabel.audit.comparison import ComparisonResult
from autolabel.audit.footprint import decimal_bytes
from autolabel.report.data import ReportData, Scores
from autolabel.report.text import ends, gain, percent, points, times


class Tile(NamedTuple):
    name: str
    value: str
    note: str


def headline(data: ReportData) -> list[Tile]:
    """The figures to read first; those that are not defined are left out."""
    return [*_scores(data), *_labels(data)]


def story(data: ReportData) -> list[str]:
    """The results, in sentences."""
    return [
        *_teacher_sentence(data),
        *_student_sentence(data),
        *_label_sentence(data),
        *_corrected_sentence(data),
        *_size_sentence(data),
    ]


def leader(data: ReportData) -> Scores | None:
    """The network whose mIoU is the highest as it is printed; None on a tie, and where there is only one."""
    shown = [(points(s.result["miou"]), s) for s in data.scores if s.result["miou"] is not None]
    highest = max(shown, key=lambda pair: float(pair[0]), default=None)
    tied = [s for text, s in shown if highest is not None and text == highest[0]]
    return tied[0] if len(tied) == 1 and len(shown) > 1 else None


def best(data: ReportData, role: str) -> Scores | None:
    """The network of a role with the highest mIoU; on a tie the first."""
    scored = [s for s in data.scores if s.role == role and s.result["miou"] is not None]
    return max(scored, key=lambda s: s.result["miou"] or 0.0, default=None)


def _scores(data: ReportData) -> Iterator[Tile]:
    teacher, student = best(data, "teacher"), best(data, "student")
    if teacher:
        note = f"on validation, trained on {teacher.trained_on}"
        yield Tile("Teacher mIoU", points(teacher.result["miou"]), _interval(teacher) + note)
    if student:
        note = f"trained on {student.trained_on}"
        if teacher:
            note = f"{gain(student.result['miou'], teacher.result['miou'])} against the teacher, {note}"
        yield Tile("Student mIoU", points(student.result["miou"]), _interval(student) + note)


def _interval(scores: Scores) -> str:
    if "intervals" not in scores.result:
        return ""
    text = ends(scores.result["miou"], scores.result["intervals"]["miou"])
    return f"{text}; " if text else ""


def _labels(data: ReportData) -> Iterator[Tile]:
    footprint = data.footprint
    if footprint and footprint["labels"]:
        size = decimal_bytes(footprint["bytes_per_label"] or 0)
        each = f"{size} each, {footprint['bits_per_pixel']:.2f} bits per pixel"
        yield Tile("Auto labels", f"{footprint['labels']:,}", each)
        half = footprint["alternatives"][1]
        note = f"{half['name']} would take {decimal_bytes(half['bytes'])}, {times(half['times'])}"
        yield Tile("On disk", decimal_bytes(footprint["bytes"]), note)
    auto = data.coverage["layers"].get("auto") if data.coverage else None
    if auto:
        note = "of all pixels" + ("" if data.threshold is None else f", threshold {data.threshold:g}")
        note += f" ({len(data.class_thresholds)} classes have their own)" if data.class_thresholds else ""
        yield Tile("Ignored", percent(auto["ignored_share"]), note)
    if data.auto_truth:
        yield _right("Labels right", data.auto_truth, "of all labelled pixels")
    if data.own_truth and data.is_filled and data.own_truth["accuracy"] is not None:
        yield _right("Teacher's own right", data.own_truth, "of the labelled pixels that no person drew")


def _right(name: str, result: ComparisonResult, of: str) -> Tile:
    interval = ends(result["accuracy"], result["accuracy_interval"])
    note = f"{of}, {percent(result['coverage'])} of the pixels, against the hidden truth"
    return Tile(name, percent(result["accuracy"]), f"{interval}; {note}" if interval else note)


def _teacher_sentence(data: ReportData) -> Iterator[str]:
    """A student that is below its teacher is no success: say so first."""
    teacher, student = best(data, "teacher"), best(data, "student")
    if teacher is None or student is None:
        return
    difference = gain(student.result["miou"], teacher.result["miou"])
    if difference.startswith("−"):
        yield f"No student reaches its teacher: the best one is at {difference} mIoU."
    elif difference.startswith("±"):
        yield "The best student and the teacher have the same mIoU."


def _student_sentence(data: ReportData) -> Iterator[str]:
    students = [s for s in data.scores if s.role == "student"]
    student = best(data, "student")
    if student is None or len(students) < 2:
        return
    first = students[0]
    if student is first or points(student.result["miou"]) == points(first.result["miou"]):
        yield f"No student beats the baseline, trained on {first.trained_on}: {points(first.result['miou'])} mIoU."
        return
    difference = gain(student.result["miou"], first.result["miou"])
    yield (
        f"The best student, trained on {student.trained_on}, reaches {points(student.result['miou'])} mIoU: "
        f"{difference} against the one trained on {first.trained_on}."
    )


def _label_sentence(data: ReportData) -> Iterator[str]:
    truth, coarse = data.auto_truth, data.coarse_truth
    if truth is None:
        return
    sentence = (
        f"Auto labels cover {percent(truth['coverage'])} of the pixels and are right on {percent(truth['accuracy'])}"
    )
    own = data.own_truth
    if own is not None and data.is_filled and own["accuracy"] is not None:
        sentence += (
            f" of them; the teacher's own pixels, without those that people drew, cover {percent(own['coverage'])} "
            f"and are right on {percent(own['accuracy'])}"
        )
    if coarse is not None:
        covered, right = percent(coarse["coverage"]), percent(coarse["accuracy"])
        sentence += f" of them; coarse labels cover {covered} and are right on {right}"
    yield sentence + "."


def _corrected_sentence(data: ReportData) -> Iterator[str]:
    if data.corrected is not None:
        yield (
            f"People corrected {data.corrected.pixels:,} pixels of {data.corrected.images} labels. The figures of"
            " labels are from before that; the student learned from the corrected ones."
        )


def _size_sentence(data: ReportData) -> Iterator[str]:
    footprint = data.footprint
    if footprint is None or not footprint["extrapolations"]:
        return
    reference = footprint["extrapolations"][-1]
    half = reference["alternatives"][1]
    low, high = sorted((reference["labels_bytes_outline"], reference["labels_bytes"]))
    yield (
        f"At this rate {reference['images']:,} labels of {reference['name']} take "
        f"{_range(low, high)}; keeping {half['name']} would take {decimal_bytes(half['bytes'])}."
    )


def _range(low: int, high: int) -> str:
    return " to ".join(dict.fromkeys([decimal_bytes(low), decimal_bytes(high)]))
