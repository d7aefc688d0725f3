"""The quality of the labels, their class balance, and the choice of the threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autolabel.audit.comparison import ComparisonResult
from autolabel.audit.threshold_curve import ThresholdCurveResult
from autolabel.evaluation.intervals import TOO_FEW
from autolabel.report import charts
from autolabel.report.data import ReportData
from autolabel.report.sections.shared import Section, confusions
from autolabel.report.svg import css_colour
from autolabel.report.text import NOTHING, between, percent, points

_LAYERS = {"coarse": "Coarse", "auto": "Auto", "fine": "Fine", "truth": "Hidden truth"}
_REASONS = {
    "kept": "teacher's class",
    "filled": "coarse class",
    "low_confidence": "ignored: not sure enough",
    "veto": "ignored: coarse label contradicts",
    "no_prediction": "ignored: no prediction",
    "confirmed": "teacher's class, confirmed by the coarse label",
    "unconfirmed": "ignored: no coarse label confirms it",
    "border": "ignored: border of a coarse polygon",
    "small": "ignored: small region",
    "ego": "ignored: the camera's own vehicle",
}


def worth(data: ReportData) -> Section:
    """The labels compared with the truth and the coarse labels; the reasons for ignored pixels."""
    compared = {
        "Auto against truth": data.auto_truth,
        "Teacher's own against truth": data.own_truth if data.is_filled else None,
        "Coarse against truth": data.coarse_truth,
        "Auto against coarse": data.coarse_agreement,
    }
    columns = {name: result for name, result in compared.items() if result is not None}
    if not columns and data.ignored is None:
        return None
    return {
        "columns": list(columns),
        "rows": [{"name": name, "cells": [show(each) for each in columns.values()]} for name, show in _MEASURES],
        "classes": _class_quality(data, data.auto_truth),
        "confusions": confusions(data, data.auto_truth["matrix"]) if data.auto_truth else [],
        "ignored": _ignored(data),
        "shift": _shift(data),
    }


def _shift(data: ReportData) -> Section:
    """The predicted accuracy of each group of images to label."""
    found = data.shift
    if found is None:
        return None
    return {
        "held_out": f"{found['held_out']:,}",
        "accuracy": percent(found["accuracy"]),
        "error": None if found["error"] is None else percent(found["error"]),
        "rows": [
            {
                "group": row["group"] or NOTHING,
                "images": f"{row['images']:,}",
                "accuracy": percent(row["accuracy"]),
                "unknown": row["unknown"],
            }
            for row in found["groups"]
        ],
    }


def _ends(value: float | None, interval: Sequence[float] | None) -> str:
    return NOTHING if value is None else between(interval) or TOO_FEW


_MEASURES: tuple[tuple[str, Callable[[ComparisonResult], str]], ...] = (
    ("Images", lambda found: f"{found['images']:,}"),
    ("Labelled pixels", lambda found: percent(found["coverage"])),
    ("Reference pixels with a label", lambda found: percent(found["valid"])),
    ("… correct among those", lambda found: percent(found["accuracy"])),
    ("… 95 % interval", lambda found: _ends(found["accuracy"], found["accuracy_interval"])),
    ("Reference pixels with the right label", lambda found: percent(found["agree"])),
    ("Pixels labelled where the reference has no label", lambda found: percent(found["beyond"])),
    ("mIoU, ignored pixels count as misses", lambda found: points(found["miou"])),
    ("… 95 % interval", lambda found: _ends(found["miou"], found["miou_interval"])),
    ("mIoU over labelled pixels only", lambda found: points(found["miou_valid"])),
)


def _class_quality(data: ReportData, result: ComparisonResult | None) -> list[dict[str, Any]]:
    if result is None:
        return []
    return [
        {
            "name": name,
            "colour": css_colour(colour),
            "precision": percent(result["precision"][name]),
            "recall": percent(result["recall"][name]),
            "iou": points(result["iou"][name]),
        }
        for name, colour in zip(data.names, data.palette, strict=True)
    ]


def _ignored(data: ReportData) -> Section:
    ledger = data.ignored
    if ledger is None:
        return None
    reasons = ledger["reasons"]
    ordered = [name for name in [*_REASONS, *sorted(set(reasons) - set(_REASONS))] if name in reasons]
    parts = [(_REASONS.get(name, name), reasons[name]["share"] or 0.0) for name in ordered if reasons[name]["pixels"]]
    return {
        "chart": charts.stack_chart([value for _, value in parts], title="Why pixels are labelled or ignored"),
        "parts": [
            {"key": charts.bar_key(i), "name": name, "share": percent(value)} for i, (name, value) in enumerate(parts)
        ],
        "alarms": ledger["alarms"],
    }


def balance(data: ReportData) -> Section:
    """Class balance of the label layers."""
    if data.coverage is None or not data.coverage["layers"]:
        return None
    by_name = data.coverage["layers"]
    layers = {name: by_name[name] for name in [*_LAYERS, *sorted(set(by_name) - set(_LAYERS))] if name in by_name}
    rows = [
        charts.ClassRow(name, colour, [layer["balance"][name] for layer in layers.values()])
        for name, colour in zip(data.names, data.palette, strict=True)
    ]
    return {
        "rows": [
            {"name": r.name, "colour": css_colour(r.colour), "cells": [percent(v) for v in r.values]} for r in rows
        ],
        "chart": charts.balance_chart(rows, title="Fraction of labelled pixels by class"),
        "series": [
            {
                "key": charts.series_key(i),
                "name": _LAYERS.get(name, name),
                "images": f"{layer['images']:,}",
                "ignored": percent(layer["ignored_share"]),
            }
            for i, (name, layer) in enumerate(layers.items())
        ],
        "tall": len(rows) > 40,
    }


def thresholds(data: ReportData) -> Section:
    """The fraction of pixels that is kept, and the fraction of those that is right, per threshold."""
    if data.evidence is None or not data.evidence["thresholds"]:
        return None
    rows = data.evidence["thresholds"]
    curves = [
        charts.Curve("right", [(r["threshold"], r["precision"]) for r in rows]),
        charts.Curve("kept", [(r["threshold"], r["kept"]) for r in rows]),
    ]
    return {
        "images": f"{data.evidence['images']:,}",
        "own": [f"{name} {value:g}" for name, value in sorted(data.class_thresholds.items())],
        "chart": charts.curve_chart(
            curves, marked=data.threshold, x_name="threshold on the probability", title="Kept and right by threshold"
        ),
        "rows": [
            {
                "threshold": f"{r['threshold']:g}",
                "kept": percent(r["kept"]),
                "precision": percent(r["precision"]),
                "used": r["threshold"] == data.threshold,
            }
            for r in rows
        ],
        "classes": [_class_curves(data, data.evidence, index) for index in range(len(data.names))],
        "calibration": _calibration(data),
        "series": [charts.bar_key(0), charts.bar_key(1)],
        "unseen": [name for name in data.names if rows[0]["classes"][name]["kept"] is None],
    }


def _calibration(data: ReportData) -> Section:
    """The reliability diagram: on its diagonal a network states exactly the fraction that is right."""
    found = data.calibration
    if found is None:
        return None
    curves = [
        charts.Curve("right", [(row["stated"], row["precision"]) for row in found["bins"]]),
        charts.Curve("calibrated", [(row["stated"], row["calibrated"]) for row in found["bins"]]),
        charts.Curve("stated", [(row["stated"], row["stated"]) for row in found["bins"]]),
    ]
    return {
        "chart": charts.curve_chart(
            curves, marked=None, x_name="probability that the network states", title="Reliability of the confidence"
        ),
        "ece": percent(found["ece"]),
        "calibrated": percent(found["ece_calibrated"]),
    }


def _class_curves(data: ReportData, evidence: ThresholdCurveResult, index: int) -> dict[str, Any]:
    name = data.names[index]
    points_of = [(r["threshold"], r["classes"][name]) for r in evidence["thresholds"]]
    curves = [
        charts.Curve("right", [(t, c["precision"]) for t, c in points_of]),
        charts.Curve("kept", [(t, c["kept"]) for t, c in points_of]),
    ]
    threshold = data.threshold_of(name)
    used = next((c for t, c in points_of if t == threshold), points_of[0][1])
    return {
        "name": name,
        "colour": css_colour(data.palette[index]),
        "chart": charts.small_curves(curves, marked=threshold, title=f"Kept and right by threshold: {name}"),
        "threshold": None if threshold is None else f"{threshold:g}",
        "precision": percent(used["precision"], 0),
        "kept": percent(used["kept"], 0),
        "seen": points_of[0][1]["kept"] is not None,
    }
