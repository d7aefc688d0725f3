from __future__ import annotations

import numpy as np

from autolabel.classes import CLASS_SETS
from autolabel.labels.visualize import colourise, grayscale, grayscale_limits, overlay

COLOURS = CLASS_SETS["cityscapes"].colours()
LABELS = np.array([[0, 13], [255, 18]], np.uint8)
IMAGE = np.full((2, 2, 3), 100, np.uint8)


def test_colours_are_the_palette() -> None:
    image = colourise(LABELS, COLOURS)
    assert (image.shape, image.dtype) == ((2, 2, 3), np.uint8)
    assert image[0, 0].tolist() == [128, 64, 128]
    assert image[1, 1].tolist() == [119, 11, 32]


def test_overlay_blends_and_leaves_ignored_pixels() -> None:
    image = overlay(IMAGE, LABELS, COLOURS)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == [114, 82, 114]
    assert image[1, 0].tolist() == [100, 100, 100]
    np.testing.assert_array_equal(overlay(IMAGE, LABELS, COLOURS, 0.0), IMAGE)
    full = overlay(IMAGE, LABELS, COLOURS, 1.0)
    np.testing.assert_array_equal(full[LABELS != 255], COLOURS[LABELS[LABELS != 255]])


def test_heat_is_grey_and_clipped() -> None:
    assert grayscale(np.array([[0.0, 0.5], [1.0, 1.5]]))[..., 1].tolist() == [[0, 128], [255, 255]]
    assert grayscale(np.array([[np.nan, np.inf, -1.0]]))[..., 1].tolist() == [[0, 0, 0]]
    assert grayscale(np.array([[-1.0, 1.0, 3.0]]), (-1.0, 3.0))[..., 1].tolist() == [[0, 128, 255]]


def test_heat_limits_widen_only_where_they_must() -> None:
    assert grayscale_limits([np.array([0.2, 0.4]), np.array([1.00001, -1e-6])]) == (0.0, 1.0)
    assert grayscale_limits([np.array([0.2, -2.0]), np.array([np.nan, np.inf, 0.1])]) == (-2.0, 1.0)
    assert grayscale_limits([np.array([3.5]), np.array([np.nan])]) == (0.0, 3.5)


def test_heat_limits_forgive_rounding_up_to_its_bound() -> None:
    assert grayscale_limits([np.array([-1e-4, 1 + 1e-4])]) == (0.0, 1.0)
    assert grayscale_limits([np.array([-1.1e-4, 1 + 1.1e-4])]) == (-1.1e-4, 1 + 1.1e-4)
