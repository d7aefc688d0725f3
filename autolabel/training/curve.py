"""The curve of a training: loss and learning rate in a bounded number of points, and every validation.

It is part of the checkpoint, so that a killed and resumed training has the same curve as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autolabel.artifacts import CurvePoint, TrainingCurve, ValidationPoint

POINTS = 200  # at most, of loss and learning rate: each is the mean over equally many steps


class Curve:
    """Collects the rows that the training loop logs."""

    def __init__(self, total_steps: int) -> None:
        self._steps_per_point = -(-total_steps // POINTS)
        # Per point: the last step, the sum of the finite losses, their number, the learning rate.
        self._sums: list[list[float]] = []
        self.validations: list[ValidationPoint] = []

    def add_step(self, row: Mapping[str, Any]) -> None:
        if not self._sums or (row["step"] - 1) % self._steps_per_point == 0:
            self._sums.append([0, 0.0, 0, 0.0])
        point = self._sums[-1]
        point[0], point[3] = row["step"], row["lr"]
        if row["loss"] is not None:
            point[1], point[2] = point[1] + row["loss"], point[2] + 1

    def add_validation(self, row: Mapping[str, Any]) -> None:
        self.validations.append(
            ValidationPoint(step=row["step"], miou=row["miou"], accuracy=row["accuracy"], iou=dict(row["iou"]))
        )

    def result(self) -> TrainingCurve:
        points = [
            CurvePoint(step=int(step), loss=total / count if count else None, lr=lr)
            for step, total, count, lr in self._sums
        ]
        return TrainingCurve(steps=points, validations=self.validations)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "validations": self.validations}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums, self.validations = state["sums"], state["validations"]
