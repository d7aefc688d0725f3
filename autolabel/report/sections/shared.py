"""Shared by several sections: swatches, confusions, the palette as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.audit.comparison import top_confusions
from autolabel.report.data import ReportData
from autolabel.report.svg import css_colour
from autolabel.report.text import percent

Section = dict[str, Any] | None  # the values for the template; None leaves the section out


def swatches(data: ReportData) -> list[dict[str, Any]]:
    """Name and colour of every class, in train-id order."""
    return [{"name": n, "colour": css_colour(c)} for n, c in zip(data.names, data.palette, strict=True)]


def palette_table(data: ReportData) -> NDArray[np.uint8]:
    """(256, 3) RGB by train id."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(data.palette)] = data.palette
    return table


def confusions(data: ReportData, matrix: list[list[int]], *, limit: int = 8) -> list[dict[str, Any]]:
    """The class pairs most often confused, the most frequent first."""
    colours = {row["name"]: row["colour"] for row in swatches(data)}
    return [
        {
            "label": pair["label"],
            "label_colour": colours[pair["label"]],
            "prediction": pair["prediction"],
            "prediction_colour": colours[pair["prediction"]],
            "share": percent(pair["share"]),
            "width": round(90 * pair["share"], 1),
            "pixels": f"{pair['pixels']:,}",
        }
        for pair in top_confusions(matrix, data.names, limit=limit)
    ]
