"""Labels side by side, and attention scale by scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.report.data import Example, ReportData
from autolabel.report.images import EmbeddedImage, blend, label_map, photo, verdict, weight_map
from autolabel.report.sections.shared import Section, palette_table, swatches
from autolabel.report.text import percent

_IGNORE = 255


def examples(data: ReportData) -> Section:
    """Figure 6 of the method: image, coarse, auto, reference; below them the errors of the auto label."""
    if not data.examples:
        return None
    colours = palette_table(data)
    train_ids = _train_ids(data.examples)
    return {
        "rows": [{"id": e.id, "panels": _panels(e, colours)} for e in data.examples],
        "legend": [row for k, row in enumerate(swatches(data)) if k in train_ids],
        "coarse": any(e.coarse is not None for e in data.examples),
    }


def _train_ids(examples: Sequence[Example]) -> set[int]:
    """The train ids that occur."""
    maps = [m for e in examples for m in (e.coarse, e.auto, e.reference) if m is not None]
    return {int(value) for labels in maps for value in np.unique(labels)}


def _panels(example: Example, colours: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Columns of one or two images, with the verdict below the label it judges."""
    columns = [_column("Image", photo(example.image))]
    reference = example.reference
    for name, labels in (("Coarse label", example.coarse), ("Auto label", example.auto)):
        if labels is not None:
            columns.append(_column(name, label_map(labels, colours)))
            if reference is not None:
                columns[-1]["below"] = _cell(_judged(labels, reference), verdict(labels, reference))
    if reference is not None:
        key = any(column["below"] for column in columns)
        columns.append({**_column(example.reference_name, label_map(reference, colours)), "key": key})
    if example.auto is not None:
        over = _cell("Auto label over image", blend(example.image, example.auto, colours))
        if reference is None:
            columns.append({"above": over, "below": None, "key": False})
        else:
            columns[0]["below"] = over
    return columns


def _column(name: str, image: EmbeddedImage) -> dict[str, Any]:
    return {"above": _cell(name, image), "below": None, "key": False}


def _cell(name: str, image: EmbeddedImage) -> dict[str, Any]:
    return {"name": name, "image": image}


def _judged(labels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> str:
    known = reference != _IGNORE
    valid = known & (labels != _IGNORE)
    right = int(np.count_nonzero(valid & (labels == reference)))
    count = int(np.count_nonzero(valid))
    covered = percent(count / max(int(np.count_nonzero(known)), 1), 0)
    return f"{covered} labelled, {percent(right / count, 1) if count else '–'} of that right"


def worst(data: ReportData) -> Section:
    """Validation images with the fewest right pixels: image, fine label, prediction, and the errors."""
    if not data.worst:
        return None
    colours = palette_table(data)
    return {
        "network": data.worst_network,
        "rows": [
            {
                "id": row.id,
                "right": percent(row.right),
                "cells": [
                    _cell("Image", photo(row.image)),
                    _cell("Fine label", label_map(row.fine, colours)),
                    _cell("Prediction", label_map(row.prediction, colours)),
                    _cell("Errors", verdict(row.prediction, row.fine)),
                ],
            }
            for row in data.worst
        ],
    }


def attention(data: ReportData) -> Section:
    """Figure 5 of the method; left out with a single scale."""
    shown = [a for a in data.attention if len(a.scales) > 1]
    if not shown:
        return None
    colours = palette_table(data)
    return {
        "even": all(np.allclose(v.weight, 1 / len(a.scales), atol=1e-3) for a in shown for v in a.scales),
        "rows": [
            {
                "id": a.id,
                "image": photo(a.image),
                "fused": label_map(a.fused, colours),
                "scales": [
                    {
                        "name": f"{view.scale:g} ×",
                        "prediction": label_map(view.prediction, colours),
                        "weight": weight_map(view.weight),
                        "mean": percent(float(view.weight.mean()), 0),
                    }
                    for view in a.scales
                ],
            }
            for a in shown
        ],
    }
