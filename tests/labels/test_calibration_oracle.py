"""Calibration of codes beside fiducio, a library for the calibration of segmentation networks."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.labels.calibration import CellCounts, bin_middles, calibrate, calibration_error, count_cells
from autolabel.labels.codebook import Codebook

fiducio = pytest.importorskip("fiducio", reason="the extra dev installs fiducio")

EDGES = tuple(round(0.1 * step, 1) for step in range(1, 10))
BOOK = Codebook(5, EDGES)


def images(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K, H, W) that are too sure, more so for some classes, and true classes (N, H, W)."""
    logits = rng.normal(0, 1.4, (number, 5, 20, 20)) + rng.normal(0, 0.3, (number, 5, 1, 1))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    draws = rng.random((number, 1, 20, 20))
    truth = (probabilities.cumsum(axis=1) < draws).sum(axis=1)
    return logits * np.array([1.2, 1.6, 2.0, 2.4, 3.0])[None, :, None, None], truth


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def counted(logits: np.ndarray, truth: np.ndarray) -> CellCounts:
    cells = CellCounts(BOOK)
    for one, label in zip(softmax(logits), truth, strict=True):
        cells.add(one.argmax(axis=0), np.searchsorted(np.array(EDGES), one.max(axis=0)), label)
    return cells


def test_the_calibration_error_is_theirs() -> None:
    """Each pixel states the middle of its bin; then both measure the same."""
    logits, truth = images(np.random.default_rng(0), 6)
    probabilities = softmax(logits)
    winner, bins = probabilities.argmax(axis=1), np.searchsorted(np.array(EDGES), probabilities.max(axis=1))
    middles = bin_middles(BOOK)[bins]
    stated = np.repeat(((1 - middles) / 4)[:, None], 5, axis=1)
    np.put_along_axis(stated, winner[:, None], middles[:, None], axis=1)
    known = middles > 0.25  # below, another class would be the most probable one
    pixels, right = count_cells(BOOK, np.where(known, winner, 255), bins, truth)
    cells = CellCounts(BOOK)
    cells.pixels, cells.right = pixels, right
    theirs = fiducio.expected_calibration_error(stated, truth, mask=known, n_bins=10)
    assert calibration_error(cells, np.broadcast_to(bin_middles(BOOK), pixels.shape)) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.slow
def test_calibrated_codes_are_as_good_as_a_temperature() -> None:
    """A temperature needs logits, which codes do not keep."""
    rng = np.random.default_rng(1)
    logits, truth = images(rng, 16)
    other, other_truth = images(rng, 16)
    held_out = counted(other, other_truth)
    raw = calibration_error(held_out, np.broadcast_to(bin_middles(BOOK), held_out.pixels.shape))
    ours = calibration_error(held_out, calibrate(counted(logits, truth)))
    scaling = fiducio.TemperatureScaling(optimizer="lbfgs")
    scaling.fit(logits.astype(np.float32), truth)
    scaled = scaling.predict_proba(other.astype(np.float32)).numpy()
    theirs = fiducio.expected_calibration_error(scaled, other_truth, n_bins=10)
    assert ours <= raw / 2
    assert ours <= theirs + 0.005
