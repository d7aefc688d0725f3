"""Promises about thresholds, on simulated images whose true error is known."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.audit.risk import FULL_WEIGHT, image_excess, p_values, promised, unit_means, units_needed

THRESHOLDS = 10
PIXELS = 10_000


def population(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Wrong and kept pixels (N, T): a higher threshold keeps fewer pixels and fewer wrong ones; hard images exist."""
    rng = np.random.default_rng(seed)
    kept = (rng.beta(1, 3, images)[:, None] * PIXELS * np.linspace(1, 0.2, THRESHOLDS)).round()
    hardness = rng.beta(0.6, 6, images)[:, None]
    error = hardness * np.linspace(1.6, 0.1, THRESHOLDS)
    return np.minimum(rng.binomial(kept.astype(int), np.clip(error, 0, 1)), kept).astype(float), kept


def true_errors(wrong: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The promised quantity, in a plain loop over the whole population."""
    errors = []
    for t in range(kept.shape[1]):
        weights = [min(1.0, k / (FULL_WEIGHT * PIXELS)) for k in kept[:, t]]
        rates = [w / k if k else 0.0 for w, k in zip(wrong[:, t], kept[:, t], strict=True)]
        errors.append(np.average(rates, weights=weights))
    return np.array(errors)


@pytest.mark.parametrize(("max_error", "images"), [(0.05, 150), (0.1, 100), (0.05, 400)])
def test_the_promised_error_is_exceeded_in_at_most_seven_percent_of_500_splits(max_error: float, images: int) -> None:
    wrong, kept = population(20_000, 0)
    truth = true_errors(wrong, kept)
    assert truth[0] > max_error > truth[-1], "the question must be open"
    rng = np.random.default_rng(1)
    exceeded = found = 0
    for _ in range(500):
        chosen = rng.choice(len(wrong), images)
        excess = image_excess(wrong[chosen], kept[chosen], np.full(images, PIXELS), max_error)
        index = promised(p_values(excess, max_error).tolist(), 0.95)
        found += index is not None
        exceeded += index is not None and truth[index] > max_error
    assert exceeded / 500 <= 0.07
    assert found / 500 > 0.5, "a promise that is never made is of no use"


def test_neighbouring_frames_as_single_images_would_lie() -> None:
    """Drives of 40 equal frames: images as units promise too often what is not so, drives as units do not."""
    wrong, kept = population(4_000, 2)
    truth, rng = true_errors(wrong, kept), np.random.default_rng(3)
    exceeded = {"drives": 0, "images": 0}
    for _ in range(200):
        drives = rng.choice(len(wrong), 10).repeat(40)
        excess = image_excess(wrong[drives], kept[drives], np.full(400, PIXELS), 0.1)
        by_drive = unit_means(excess, [str(i // 40) for i in range(400)])
        for name, units in (("drives", by_drive), ("images", excess)):
            index = promised(p_values(units, 0.1).tolist(), 0.95)
            exceeded[name] += index is not None and truth[index] > 0.1
    assert exceeded["drives"] / 200 <= 0.07 < 0.2 < exceeded["images"] / 200


def test_excess_equals_a_loop_over_images() -> None:
    wrong, kept, pixels = np.array([[2.0], [0], [1]]), np.array([[10.0], [0], [2]]), np.array([1000.0, 1000, 5000])
    expected = [1.0 * (0.2 - 0.1), 0.0, (2 / 5) * (0.5 - 0.1)]
    np.testing.assert_allclose(image_excess(wrong, kept, pixels, 0.1)[:, 0], expected)


def test_units_are_means_by_name() -> None:
    values = np.array([[1.0], [2], [3], [6]])
    np.testing.assert_array_equal(unit_means(values, ["b", "a", "b", "a"]), [[4.0], [2.0]])


def test_without_any_error_as_many_units_as_said_are_needed() -> None:
    for max_error, confidence in ((0.05, 0.95), (0.1, 0.9), (0.2, 0.99)):
        needed = units_needed(max_error, confidence)
        for units, enough in ((needed - 1, False), (needed, True)):
            excess = np.full((units, THRESHOLDS), -max_error)
            assert (promised(p_values(excess, max_error).tolist(), confidence) is not None) == enough
    assert units_needed(0.05, 0.95) > 20, "20 images promise nothing here"


def test_the_search_stops_at_the_first_that_stands() -> None:
    low = 0.001
    assert promised([low] * 10, 0.95) == 0
    assert promised([1, 1, low, 1, low, low, 1, low, low, 1], 0.95) is None  # the starts are 3, 6 and 9
    assert promised([1, 1, low, low, 1, 1, low, 1, 1, 1], 0.95) == 2
    assert promised([low, 1, 1, 1, low, low, low, 1, 1, 1], 0.95) == 4
    assert promised([1.0] * 10, 0.95) is None
