"""Rounds of self-training: how the labels changed."""

from __future__ import annotations

from typing import Any, Literal

from autolabel.audit.comparison import RoundChange
from autolabel.report.data import ReportData
from autolabel.report.sections.shared import Section, swatches
from autolabel.report.text import ends, percent, points

_Measure = Literal["same", "coverage_before", "coverage_after", "gained", "lost", "switched", "agree"]
_MEASURES: tuple[tuple[str, _Measure], ...] = (
    ("Unchanged pixels", "same"),
    ("Labelled before", "coverage_before"),
    ("Labelled after", "coverage_after"),
    ("Newly labelled", "gained"),
    ("Newly ignored", "lost"),
    ("Labelled with another class than before", "switched"),
    ("Same class, among pixels labelled in both", "agree"),
)


def rounds(data: ReportData) -> Section:
    """The labels of each round compared with the previous round; per class for the last round."""
    if not data.changes:
        return None
    changes = list(data.changes.values())
    rows = [{"name": name, "cells": [percent(change[key]) for change in changes]} for name, key in _MEASURES]
    for name in ("before", "after"):
        if any(change["truth"][name] is not None for change in changes):
            cells = [_with_interval(change, name) for change in changes]
            rows.append({"name": f"Right {name}, among labelled pixels, by the hidden truth", "cells": cells})
    columns = [f"Round {int(number) - 1} to {number}" for number in data.changes]
    return {"columns": columns, "rows": rows, "classes": _classes(data, changes[-1]), "last": columns[-1]}


def _with_interval(change: RoundChange, name: str) -> str:
    interval = ends(change["truth"][name], change["truth_interval"][name])
    return percent(change["truth"][name]) + (f" ({interval})" if interval else "")


def _classes(data: ReportData, change: RoundChange) -> list[dict[str, Any]]:
    return [
        {
            **swatch,
            "before": percent(change["before"][name]),
            "after": percent(change["after"][name]),
            "iou": points(change["iou"][name]),
        }
        for name, swatch in zip(data.names, swatches(data), strict=True)
    ]
