"""Calibration of (class, bin) against plain loops and against a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.labels.calibration import CellCounts, _rising, bin_middles, calibrate, calibration_error, count_cells
from autolabel.labels.codebook import Codebook

BOOK = Codebook(4, (0.3, 0.5, 0.7, 0.9))


def simulated(images: int, seed: int, *, pixels: int = 3000, rare: bool = True) -> tuple[CellCounts, np.ndarray]:
    """Overconfident codes whose truth is known: a pixel of (class, bin) is right as often as `truth` says, and whole
    images are better or worse."""
    rng = np.random.default_rng(seed)
    truth = np.clip(bin_middles(BOOK)[None, :] - np.array([[0.05], [0.15], [0.2], [0.3]]), 0.02, 0.98)
    cells = CellCounts(BOOK)
    for _ in range(images):
        shares = [0.6, 0.3, 0.098, 0.002] if rare else [0.25] * 4
        classes, bins = rng.choice(4, pixels, p=shares).astype(np.uint8), rng.integers(0, 5, pixels)
        shift = rng.normal(0, 0.05)
        right = rng.random(pixels) < np.clip(truth[classes, bins] + shift, 0, 1)
        label = np.where(right, classes, (classes + 1) % 4).astype(np.uint8)
        cells.add(classes[None], bins[None], label[None])
    return cells, truth


def test_cells_equal_a_loop() -> None:
    rng = np.random.default_rng(0)
    classes, label = (rng.choice([0, 1, 2, 3, 255], (5, 6)).astype(np.uint8) for _ in range(2))
    bins = rng.integers(0, BOOK.bins, (5, 6))
    pixels, right = np.zeros((4, 5)), np.zeros((4, 5))
    for c, b, truth in zip(classes.ravel(), bins.ravel(), label.ravel(), strict=True):
        if c < 4 and truth < 4:
            pixels[c, b] += 1
            right[c, b] += c == truth
    found = count_cells(BOOK, classes, bins, label)
    np.testing.assert_array_equal(found[0], pixels)
    np.testing.assert_array_equal(found[1], right)


def test_halves_add_up() -> None:
    (one, _), (other, _) = simulated(3, 1), simulated(4, 2)
    both = one.merged(other)
    assert both.images == 7
    np.testing.assert_array_equal(both.rr, one.rr + other.rr)


def test_the_estimate_comes_close_to_the_truth_and_halves_the_error() -> None:
    fit, truth = simulated(60, 3)
    fresh, _ = simulated(60, 4)
    probabilities = calibrate(fit)
    assert np.abs(probabilities - truth)[:2].max() < 0.05
    raw = calibration_error(fresh, np.broadcast_to(bin_middles(BOOK), (4, 5)))
    assert calibration_error(fresh, probabilities) < raw / 2


def test_a_rare_class_leans_on_the_others_and_beats_its_own_rate() -> None:
    """Over many draws of few images, the shrunk estimate of the rare class errs less than its bare fraction."""
    errors = []
    for seed in range(30):
        cells, truth = simulated(4, seed + 10)
        bare = np.divide(cells.right, cells.pixels, out=np.full((4, 5), 0.5), where=cells.pixels > 0)
        errors.append([np.abs(found[3] - truth[3]).mean() for found in (calibrate(cells), bare)])
    shrunk, bare = np.mean(errors, axis=0)
    assert shrunk < bare


def test_many_pixels_of_one_image_are_not_many_observations() -> None:
    """The same pixels from one image, or from a hundred: the single image moves the estimate less."""
    one, many = CellCounts(BOOK), CellCounts(BOOK)
    for cells, images in ((one, 1), (many, 100)):
        for _ in range(images):
            side = (100, 100 // images)
            wrong = np.full(side, 1, np.uint8)
            cells.add(np.zeros(side, np.uint8), np.full(side, 4), wrong)
    assert calibrate(many)[0, 4] < calibrate(one)[0, 4]


def test_without_pixels_the_networks_own_number_stands() -> None:
    np.testing.assert_allclose(calibrate(CellCounts(BOOK)), np.tile(bin_middles(BOOK), (4, 1)))


def test_one_class_only() -> None:
    book = Codebook(1, (0.5,))
    cells = CellCounts(book)
    cells.add(np.zeros((2, 2), np.uint8), np.array([[0, 1], [1, 1]]), np.zeros((2, 2), np.uint8))
    assert (np.diff(calibrate(cells)[0]) >= 0).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 10)), min_size=1, max_size=5))
def test_rising_is_the_closest_that_never_falls(rows: list[tuple[float, float]]) -> None:
    """Against the minimax formula of isotonic regression (Robertson, Wright and Dykstra, 1988)."""
    values, weights = (np.array(column) for column in zip(*rows, strict=True))

    def mean(i: int, j: int) -> float:
        return float(np.average(values[i : j + 1], weights=weights[i : j + 1]))

    size = len(values)
    wanted = [max(min(mean(i, j) for j in range(k, size)) for i in range(k + 1)) for k in range(size)]
    assert _rising(values, weights) == pytest.approx(wanted, abs=1e-12)
