"""Curves of every training: loss, learning rate, mIoU, and IoU per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autolabel.artifacts import TrainingCurve, ValidationPoint
from autolabel.report import charts
from autolabel.report.data import ReportData
from autolabel.report.sections.shared import Section
from autolabel.report.svg import css_colour
from autolabel.report.text import points

Figure = Callable[[ValidationPoint], float | None]


def training(data: ReportData) -> Section:
    """Three charts with a curve per network, and small charts per class if there is more than one validation."""
    curves = {name: curve for name, curve in data.curves.items() if curve["steps"]}
    if not curves:
        return None
    last = max(curve["steps"][-1]["step"] for curve in curves.values())

    def drawn(get: Callable[[TrainingCurve], Sequence[tuple[float, float | None]]]) -> list[charts.Curve]:
        return [charts.Curve(name, get(curve)) for name, curve in curves.items()]

    loss = drawn(lambda curve: [(p["step"], p["loss"]) for p in curve["steps"]])
    rate = drawn(lambda curve: [(p["step"], p["lr"]) for p in curve["steps"]])
    miou = drawn(lambda curve: _over_steps(curve, lambda point: point["miou"]))
    return {
        "series": [{"key": charts.bar_key(i), "name": name} for i, name in enumerate(curves)],
        "charts": [
            {"name": "Loss", "chart": charts.step_chart(loss, last_step=last, title="Loss by step")},
            {
                "name": "mIoU on validation",
                "chart": charts.step_chart(miou, last_step=last, percent=True, title="mIoU by step"),
            },
            {"name": "Learning rate", "chart": charts.step_chart(rate, last_step=last, title="Learning rate by step")},
        ],
        "classes": _classes(data, curves, last),
    }


def _over_steps(curve: TrainingCurve, figure: Figure) -> list[tuple[float, float | None]]:
    return [(point["step"], figure(point)) for point in curve["validations"]]


def _classes(data: ReportData, curves: dict[str, TrainingCurve], last: int) -> list[dict[str, Any]]:
    if max(len(curve["validations"]) for curve in curves.values()) < 2:
        return []
    rows = []
    for name, colour in zip(data.names, data.palette, strict=True):
        lines = [charts.Curve(key, _over_steps(curve, _iou_of(name))) for key, curve in curves.items()]
        ends = [next((y for _, y in reversed(line.points) if y is not None), None) for line in lines]
        if any(end is not None for end in ends):
            chart = charts.small_curves(lines, marked=None, x_end=last, title=f"IoU by step: {name}")
            rows.append(
                {"name": name, "colour": css_colour(colour), "chart": chart, "ends": " → ".join(map(points, ends))}
            )
    return rows


def _iou_of(name: str) -> Figure:
    return lambda point: point["iou"].get(name)
