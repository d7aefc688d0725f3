"""Scores of every network."""

from __future__ import annotations

from typing import Any

from autolabel.audit.footprint import decimal_bytes
from autolabel.evaluation.intervals import MIN_UNITS, TOO_FEW
from autolabel.report import charts
from autolabel.report.data import ReportData, Scores
from autolabel.report.sections.shared import Section, confusions
from autolabel.report.summary import best, leader
from autolabel.report.svg import css_colour
from autolabel.report.text import between, gain, percent, points


def results(data: ReportData) -> Section:
    """Table 4 of the method, and IoU by class."""
    if not data.scores:
        return None
    students = [s for s in data.scores if s.role == "student"]
    top = best(data, "student") or best(data, "teacher")
    rows = [
        {
            "name": s.name,
            "role": s.role,
            "trained_on": s.trained_on,
            "evaluated": s.evaluated,
            "miou": points(s.result["miou"]),
            "miou_interval": between(s.result["intervals"]["miou"]) if "intervals" in s.result else "",
            "accuracy": percent(s.result["accuracy"]),
            "accuracy_interval": between(s.result["intervals"]["accuracy"]) if "intervals" in s.result else "",
            "gain": gain(s.result["miou"], students[0].result["miou"])
            if s.role == "student" and s is not students[0]
            else "",
            "best": s is leader(data),
            **_storage(data, s, students[0] if students else None),
        }
        for s in data.scores
    ]
    values = [[s.result["iou"].get(name) for s in data.scores] for name in data.names]
    chart_rows = [charts.ClassRow(n, c, v) for n, c, v in zip(data.names, data.palette, values, strict=True)]
    first = next((s.result["intervals"] for s in data.scores if "intervals" in s.result), None)
    return {
        "rows": rows,
        "units": f"{first['units']} {first['over']}" if first else "",
        "too_few": TOO_FEW if first and first["units"] < MIN_UNITS else "",
        "gains": len(students) > 1,
        "storage": any(row["bytes"] for row in rows),
        "chart": charts.iou_chart(chart_rows, title="IoU by class of every network"),
        "series": [{"key": charts.bar_key(i), "name": s.name} for i, s in enumerate(data.scores)],
        "classes": [_iou_row(n, c, v) for n, c, v in zip(data.names, data.palette, values, strict=True)],
        "confusions": confusions(data, top.result["matrix"]) if top else [],
        "confused": top.name if top else "",
        "tall": len(data.names) > 40,
    }


def _storage(data: ReportData, scores: Scores, first: Scores | None) -> dict[str, str]:
    """Bytes on disk of the labels that a student learned from, and its gain over the first one per gigabyte more."""
    size = _label_bytes(data, scores)
    if scores.role != "student" or first is None or size is None:
        return {"bytes": "", "per_gigabyte": ""}
    before, miou, base = _label_bytes(data, first), scores.result["miou"], first.result["miou"]
    extra = size - before if before is not None else 0
    known = scores is not first and extra > 0 and miou is not None and base is not None
    per_gigabyte = f"{100 * (miou - base) / (extra / 1e9):+,.0f}" if known else ""  # type: ignore[operator]  # see known
    return {"bytes": decimal_bytes(size), "per_gigabyte": per_gigabyte}


def _label_bytes(data: ReportData, scores: Scores) -> int | None:
    """None where the layers are not known by name."""
    layers = scores.trained_on.split(" + ")
    return sum(data.label_bytes[layer] for layer in layers) if set(layers) <= set(data.label_bytes) else None


def _iou_row(name: str, colour: tuple[int, int, int], values: list[float | None]) -> dict[str, Any]:
    texts = [points(v) for v in values]
    shown = [text for text, v in zip(texts, values, strict=True) if v is not None]
    highest = max(shown, key=float, default="")  # as printed: what looks equal is a tie, and no network leads then
    alone = len(values) > 1 and shown.count(highest) == 1
    cells = [{"text": text, "best": alone and text == highest} for text in texts]
    return {"name": name, "colour": css_colour(colour), "cells": cells}
