"""Rounds of self-training: what became of the labels."""

from __future__ import annotations

from typing import Any, Literal

from autolabel.audit.comparison import RoundChange
from autolabel.report.data import ReportData
from autolabel.report.sections.shared import Section, swatches
from autolabel.report.text import percent, points

_Measure = Literal["same", "coverage_before", "coverage_after", "gained", "lost", "switched", "agree"]
_MEASURES: tuple[tuple[str, _Measure], ...] = (
    ("Pixels that are the same", "same"),
    ("Labelled before", "coverage_before"),
    ("Labelled after", "coverage_after"),
    ("Labelled, and ignored before", "gained"),
    ("Ignored, and labelled before", "lost"),
    ("Labelled as another class than before", "switched"),
    ("Of those labelled in both, the same class", "agree"),
)


def rounds(data: ReportData) -> Section:
    """Each round's labels against those of the round before; by class, the last of them."""
    if not data.changes:
        return None
    found = list(data.changes.values())
    rows = [{"name": name, "cells": [percent(change[key]) for change in found]} for name, key in _MEASURES]
    for name in ("before", "after"):
        if any(change["truth"][name] is not None for change in found):
            cells = [percent(change["truth"][name]) for change in found]
            rows.append({"name": f"Right {name}, of those labelled, against the hidden truth", "cells": cells})
    columns = [f"Round {int(number) - 1} to {number}" for number in data.changes]
    return {"columns": columns, "rows": rows, "classes": _classes(data, found[-1]), "last": columns[-1]}


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
