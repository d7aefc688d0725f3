"""What a run achieved, in the words scripts rely on: teacher_miou, student_miou, students, labels, report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autolabel.flow.graph import Pipeline
from autolabel.store import Artefact


def summarise(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> dict[str, Any]:
    """`artefacts` by step name; only what is there is told."""
    result: dict[str, Any] = {}
    students: dict[str, float | None] = {}
    for node in pipeline.of_stage("evaluate"):
        if node.name not in artefacts:
            continue
        miou = artefacts[node.name].meta["miou"]
        model = node.inputs["model"]
        if model.stage.name == "teacher":
            result["teacher_miou"] = miou
        else:
            students[model.name.removeprefix("student-")] = miou
        if node is pipeline.headline:
            result["student_miou"] = miou
    if len(pipeline.of_stage("student")) > 1 and students:
        result["students"] = students
    if "label" in artefacts:
        result["labels"] = {key: artefacts["label"].meta[key] for key in ("count", "bytes", "ignored_share")}
        result["labels"]["path"] = str(artefacts["label"].data)
    for node in pipeline.of_stage("report"):
        if node.name in artefacts:
            result["report"] = str(artefacts[node.name].data / "report.html")
    return result


def failed_gates(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> list[str]:
    """The quality gates (`evaluate.min_miou`) that the student's evaluation missed, one line each."""
    node = pipeline.headline
    if node is None or node.name not in artefacts:
        return []
    wanted = getattr(node.settings, "min_miou", None)
    miou = artefacts[node.name].meta["miou"]  # None: no pixel to measure, which passes no gate
    if not wanted or (miou is not None and miou >= wanted):
        return []
    figure = "undefined" if miou is None else f"{miou:.4f}"
    return [f"{node.name}: mIoU {figure} is below evaluate.min_miou = {wanted}"]
