"""Manifest rows for tests."""

from __future__ import annotations

from dataclasses import replace

from autolabel.classes import CLASS_SETS
from autolabel.data.schema import ImageRow, LabelRow

SYNTHETIC = CLASS_SETS["synthetic"]
K = SYNTHETIC.num_classes


def image_row(image_id: str = "a", **change: object) -> ImageRow:
    row = ImageRow(image_id, "train", "town", "source", f"images/{image_id}.png", "0" * 64, 100, 4, 3)
    return replace(row, **change)


def label_row(image_id: str = "a", role: str = "fine", **change: object) -> LabelRow:
    path = f"{role}/{image_id}.png"
    row = LabelRow(image_id, role, "ids", "source", path, "1" * 64, 50, (12,) + (0,) * K, "test")
    return replace(row, **change)
