"""The results of a run, under the names that scripts rely on.

They are teacher_miou, student_miou, students, labels, corrected, changes, table, report, each mIoU's interval, and
advice.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

from autolabel.artifacts import (
    REPORT_PAGE,
    TABLE_PAGE,
    TableRow,
    audit_meta,
    comparison_meta,
    count_corrected,
    evaluation_meta,
    labels_meta,
    step_seconds,
    table_meta,
)
from autolabel.config.schema import EvaluateConfig
from autolabel.flow.advice import advice
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.stage import input_group
from autolabel.store import Artefact

if TYPE_CHECKING:
    from autolabel.evaluation.intervals import Interval


class TimedRow(TableRow):
    """A row of the table with a figure of this machine."""

    step_seconds: float | None  # median duration of a training step


def summarise(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> dict[str, Any]:
    """The results that are there; `artefacts` by step name."""
    result = {**_evaluations(pipeline, artefacts), **_labels(pipeline, artefacts), **_corrected(pipeline, artefacts)}
    changes = {node.name: dict(comparison_meta(made)) for node, made in _made(pipeline, artefacts, "compare")}
    if changes:
        result["changes"] = changes
    result |= _table(pipeline, artefacts)
    for _, made in _made(pipeline, artefacts, "report"):
        result["report"] = str(made.data / REPORT_PAGE)
    lines = advice(pipeline, artefacts)
    return {**result, "advice": lines} if lines else result


def _made(pipeline: Pipeline, artefacts: Mapping[str, Artefact], stage: str) -> list[tuple[Node, Artefact]]:
    return [(node, artefacts[node.name]) for node in pipeline.of_stage(stage) if node.name in artefacts]


def _evaluations(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> dict[str, Any]:
    """The mIoU of the teacher, of the headline's student and, where there are several students, of each."""
    result: dict[str, Any] = {}
    titles = _titles(pipeline)
    students: dict[str, float | None] = {}
    student_intervals: dict[str, Interval | None] = {}
    for node, made in _made(pipeline, artefacts, "evaluate"):
        meta, model = evaluation_meta(made), node.inputs["model"]
        miou, interval = meta["miou"], meta["intervals"]["miou"]
        if model.stage.name == "student":
            title = titles.get(node.name, model.name)
            students[title], student_intervals[title] = miou, interval
            if node is pipeline.headline:
                result["student_miou"], result["student_interval"] = miou, interval
        elif len(pipeline.of_stage("teacher")) == 1:
            result["teacher_miou"], result["teacher_interval"] = miou, interval
    if len(pipeline.of_stage("student")) > 1 and students:
        result["students"], result["student_intervals"] = students, student_intervals
    return result


def _titles(pipeline: Pipeline) -> dict[str, str]:
    """The report's title of each evaluation, by step name."""
    groups = (input_group(node.inputs, "evaluations") for node in pipeline.of_stage("report"))
    return {node.name: title for group in groups for title, node in group.items()}


def _labels(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> dict[str, Any]:
    """The labels that the headline's student learns from: with several rounds, those of the last one."""
    student = pipeline.headline.inputs["model"] if pipeline.headline else None
    learnt_from = student.inputs.get("labels") if student else None
    nodes = [learnt_from] if learnt_from else []
    node = next((n for n in (*nodes, *pipeline.of_stage("label")) if n.name in artefacts), None)
    if node is None:
        return {}
    made = artefacts[node.name]
    meta = labels_meta(made)
    figures = {"count": meta["count"], "bytes": meta["bytes"], "ignored_share": meta["ignored_share"]}
    return {"labels": {**figures, **_quality(pipeline, artefacts, node), "path": str(made.data)}}


def _corrected(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> dict[str, Any]:
    """The labels that people have corrected: those that the headline's student learns from."""
    student = pipeline.headline.inputs["model"] if pipeline.headline else None
    fused = student.inputs.get("fused") if student else None
    made = artefacts.get(fused.name) if fused else None
    if made is None or (count := count_corrected(made)) is None:
        return {}
    return {"corrected": {**count._asdict(), "path": str(made.data)}}


def _quality(pipeline: Pipeline, artefacts: Mapping[str, Artefact], labels: Node) -> dict[str, Any]:
    """The audit's figures of these labels against the hidden truth, where there is one."""
    audits = (made for node, made in _made(pipeline, artefacts, "audit") if node.inputs.get("labels") is labels)
    meta = next((audit_meta(made) for made in audits), None)
    if meta is None or meta["accuracy"] is None:
        return {}
    return {key: value for key, value in meta.items() if key not in ("never_labelled", "unknown_groups")}


def _table(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> dict[str, Any]:
    """Its rows with the duration of a training step, which differs by machine: no artefact holds it."""
    result: dict[str, Any] = {}
    for node, made in _made(pipeline, artefacts, "table"):
        models = input_group(node.inputs, "models")
        rows: list[TimedRow] = [
            {**row, "step_seconds": _step_seconds(artefacts.get(models[row["model"]].name))}
            for row in table_meta(made)["rows"]
        ]
        result["table"] = {"path": str(made.data / TABLE_PAGE), "rows": rows}
    return result


def _step_seconds(training: Artefact | None) -> float | None:
    """The median duration of a training step."""
    seconds = [] if training is None else list(step_seconds(training))
    return median(seconds) if seconds else None


def failed_gates(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> list[str]:
    """The quality gates (`evaluate.min_miou`) that the student's evaluation missed, one line each."""
    node = pipeline.headline
    if node is None or node.name not in artefacts:
        return []
    wanted = node.settings.min_miou if isinstance(node.settings, EvaluateConfig) else None
    miou = evaluation_meta(artefacts[node.name])["miou"]  # None: no pixel to measure, which passes no gate
    if not wanted or (miou is not None and miou >= wanted):
        return []
    figure = "undefined" if miou is None else f"{miou:.4f}"
    return [f"{node.name}: mIoU {figure} is below evaluate.min_miou = {wanted}"]
