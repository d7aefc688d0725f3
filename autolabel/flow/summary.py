"""What a run achieved, in the words scripts rely on: teacher_miou, student_miou, students, labels, changes, table,
report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from statistics import median
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
        if model.stage.name == "student":
            name = model.name.removeprefix("student-")
            students[model.name if name.isdigit() else name] = miou  # a round's number says nothing by itself
            if node is pipeline.headline:
                result["student_miou"] = miou
        elif len(pipeline.of_stage("teacher")) == 1:
            result["teacher_miou"] = miou
    if len(pipeline.of_stage("student")) > 1 and students:
        result["students"] = students
    labels = _labels(pipeline, artefacts)
    if labels is not None:
        result["labels"] = {key: labels.meta[key] for key in ("count", "bytes", "ignored_share")}
        result["labels"]["path"] = str(labels.data)
    changes = {n.name: dict(artefacts[n.name].meta) for n in pipeline.of_stage("compare") if n.name in artefacts}
    if changes:
        result["changes"] = changes
    for node in pipeline.of_stage("table"):
        if node.name in artefacts:
            rows = artefacts[node.name].meta["rows"]
            trainings = [artefacts.get(node.inputs[f"models.{row['model']}"].name) for row in rows]
            timed = [{**row, "step_seconds": _step_seconds(t)} for row, t in zip(rows, trainings, strict=True)]
            result["table"] = {"path": str(artefacts[node.name].data / "table.md"), "rows": timed}
    for node in pipeline.of_stage("report"):
        if node.name in artefacts:
            result["report"] = str(artefacts[node.name].data / "report.html")
    return result


def _labels(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> Artefact | None:
    """The labels that the headline's student learns from: those of the last round, where there are several."""
    student = pipeline.headline.inputs["model"] if pipeline.headline else None
    learnt_from = student.inputs.get("labels") if student else None
    names = [learnt_from.name] if learnt_from else []
    return next((artefacts[name] for name in (*names, "label") if name in artefacts), None)


def _step_seconds(training: Artefact | None) -> float | None:
    """The median time of a training step, of the log: a figure of the machine, so no artefact holds it."""
    seconds = []
    for line in training.log_lines("metrics.jsonl") if training is not None else ():
        with suppress(ValueError):  # a power cut may tear a line of a log
            row = json.loads(line)
            seconds += [row["seconds"]] if row["kind"] == "step" else []
    return median(seconds) if seconds else None


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
