"""Scores of every network."""

from __future__ import annotations

from typing import Any

from autolabel.report import charts
from autolabel.report.data import ReportData
from autolabel.report.sections.shared import Section, confusions
from autolabel.report.summary import best
from autolabel.report.svg import css_colour
from autolabel.report.text import gain, percent, points


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
            "accuracy": percent(s.result["accuracy"]),
            "gain": gain(s.result["miou"], students[0].result["miou"])
            if s.role == "student" and s is not students[0]
            else "",
            "best": s is top,
        }
        for s in data.scores
    ]
    values = [[s.result["iou"].get(name) for s in data.scores] for name in data.names]
    chart_rows = [charts.ClassRow(n, c, v) for n, c, v in zip(data.names, data.palette, values, strict=True)]
    return {
        "rows": rows,
        "gains": len(students) > 1,
        "chart": charts.iou_chart(chart_rows, title="IoU by class of every network"),
        "series": [{"key": charts.bar_key(i), "name": s.name} for i, s in enumerate(data.scores)],
        "classes": [_iou_row(n, c, v) for n, c, v in zip(data.names, data.palette, values, strict=True)],
        "confusions": confusions(data, top.result["matrix"]) if top else [],
        "confused": top.name if top else "",
        "tall": len(data.names) > 40,
    }


def _iou_row(name: str, colour: tuple[int, int, int], values: list[float | None]) -> dict[str, Any]:
    highest = max((v for v in values if v is not None), default=None)
    cells = [{"text": points(v), "best": v is not None and v == highest and len(values) > 1} for v in values]
    return {"name": name, "colour": css_colour(colour), "cells": cells}
