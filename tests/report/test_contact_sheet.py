"""The sheet of scales: the place of each panel, and the meaning of grey."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.labels.visualize import colourise, grayscale, overlay
from autolabel.report.contact_sheet import scale_rows, scale_sheet
from autolabel.report.data import ScaleView

COLOURS = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
IMAGE = np.random.default_rng(1).integers(0, 256, (60, 400, 3), dtype=np.uint8)
LABELS = np.random.default_rng(2).integers(0, 3, (60, 400), dtype=np.uint8)


def views(weights: np.ndarray) -> list[ScaleView]:
    return [ScaleView(0.5, LABELS, weights), ScaleView(1.0, LABELS[::-1], 1 - weights)]


def panel(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    y, x = 8 + 22 + row * (60 + 22 + 8), 8 + column * 408
    return sheet[y : y + 60, x : x + 400]


def test_panels_hold_the_images_as_they_are() -> None:
    weights = np.linspace(0, 1, 60 * 400, dtype=np.float32).reshape(60, 400)
    sheet = scale_sheet(IMAGE, LABELS, views(weights), COLOURS)
    np.testing.assert_array_equal(panel(sheet, 0, 0), IMAGE)
    np.testing.assert_array_equal(panel(sheet, 0, 1), overlay(IMAGE, LABELS, COLOURS))
    np.testing.assert_array_equal(panel(sheet, 1, 0), colourise(LABELS, COLOURS))
    np.testing.assert_array_equal(panel(sheet, 1, 1), grayscale(weights))
    np.testing.assert_array_equal(panel(sheet, 2, 0), colourise(LABELS[::-1], COLOURS))
    np.testing.assert_array_equal(panel(sheet, 2, 1), grayscale(1 - weights))
    assert panel(sheet, 1, 1)[-1, -1].tolist() == [255] * 3, "white is 1"


@pytest.mark.parametrize(("low", "high", "key"), [(0, 1, "black 0, white 1"), (-0.5, 3.25, "black -2.25, white 3.25")])
def test_weights_beyond_one_are_shown_for_what_they_are(low: float, high: float, key: str) -> None:
    """Weights of explicit fusion without softmax; the other scale has 1 - weight."""
    weights = np.linspace(low, high, 60 * 400, dtype=np.float32).reshape(60, 400)
    rows = scale_rows(IMAGE, LABELS, views(weights), COLOURS)
    assert [row[1].caption for row in rows[1:]] == [f"attention at {scale}x, {key}" for scale in ("0.5", "1")]
    limits = min(low, 1 - high), max(high, 1 - low)
    np.testing.assert_array_equal(rows[1][1].image, grayscale(weights, limits))


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3)])
def test_images_of_any_shape(shape: tuple[int, int]) -> None:
    labels, image = np.zeros(shape, np.uint8), np.zeros((*shape, 3), np.uint8)
    weights = np.full(shape, np.nan, np.float32)
    sheet = scale_sheet(image, labels, [ScaleView(1.0, labels, weights)], COLOURS, width=640)
    assert sheet.shape[1] <= 2 * 648 + 8
