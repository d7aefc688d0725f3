"""Rules for thresholds against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.errors import SettingError
from autolabel.labels.codebook import Codebook
from autolabel.labels.threshold_rules import (
    calibrated_bins,
    edge_of_bin,
    histogram_of,
    per_class,
    quantile_thresholds,
    require_reachable,
)

BOOK = Codebook(3, (0.3, 0.4, 0.5, 0.7, 0.9))
SECOND = Codebook(3, (0.3, 0.5), second_below=0.3)


@pytest.mark.parametrize("book", [BOOK, SECOND])
def test_the_histogram_equals_a_loop(book: Codebook) -> None:
    codes = np.random.default_rng(0).integers(0, book.num_codes, (7, 9)).astype(book.dtype)
    codes[0, 0] = book.invalid
    counts = np.zeros((book.num_classes, book.bins), int)
    for c, b in zip(*(part.ravel() for part in book.classes_and_bins(codes)), strict=True):
        if c < 255:
            counts[c, b] += 1
    np.testing.assert_array_equal(histogram_of(book, codes), counts)


def test_quantiles_equal_the_nearest_edge_of_sorted_pixels() -> None:
    rng = np.random.default_rng(1)
    confidence = [rng.beta(a, 2, 5000) for a in (1, 5, 40)]
    edges = np.array(BOOK.edges)
    histogram = np.stack([np.bincount(np.searchsorted(edges, p, side="left"), minlength=6) for p in confidence])
    for quantile in (0.05, 0.15, 0.5):
        chosen = quantile_thresholds(histogram, BOOK.edges, quantile, (0.35, 0.9))
        for value, p in zip(chosen, confidence, strict=True):
            allowed = [edge for edge in BOOK.edges if 0.35 <= edge <= 0.9]
            assert value == min(allowed, key=lambda edge: abs(np.mean(p <= edge) - quantile))


def test_quantiles_stay_in_their_range_and_take_the_lower_edge_without_pixels() -> None:
    low, high, none = [1000, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1000], [0] * 6
    assert quantile_thresholds(np.array([low, high, none]), BOOK.edges, 0.15, (0.35, 0.9)) == [0.4, 0.4, 0.4]
    assert quantile_thresholds(np.array([high]), BOOK.edges, 1.0, (0.35, 0.6)) == [0.4]
    with pytest.raises(SettingError, match="no bin edge lies in it"):
        quantile_thresholds(np.array([none]), BOOK.edges, 0.15, (0.41, 0.49))


def test_calibrated_bins_equal_a_loop_over_codes() -> None:
    rng = np.random.default_rng(2)
    probabilities = np.sort(rng.random((3, BOOK.bins)), axis=1)
    thresholds = (0.0, 0.5, 0.999)
    lut = BOOK.lut_from_bins(calibrated_bins(probabilities, thresholds))
    for code in range(BOOK.num_codes):
        k, b = divmod(code, BOOK.bins)
        kept = thresholds[k] == 0 or probabilities[k, b] > thresholds[k]
        assert lut[code] == (k if kept else 255)


def test_a_class_may_keep_nothing() -> None:
    assert calibrated_bins(np.full((3, BOOK.bins), 0.4), (0.5, 0.3, 0)) == [BOOK.bins, 0, 0]
    assert [edge_of_bin(BOOK, b) for b in (0, 1, 5, 6)] == [0.0, 0.3, 0.9, None]
    assert not np.isin(BOOK.lut_from_bins([6, 0, 0]), [0]).any()


def test_a_threshold_that_no_probability_exceeds_is_refused() -> None:
    require_reachable((1.0, 0.99))
    with pytest.raises(SettingError, match="every pixel would be ignored"):
        require_reachable((1.0, 1.0))
    with pytest.raises(SettingError, match="no bin edge"):
        BOOK.lut(1.0)


def test_bins_and_edges_give_the_same_table() -> None:
    thresholds = (0.0, 0.4, 0.9)
    lowest = [BOOK.lowest_bin(value) for value in thresholds]
    np.testing.assert_array_equal(BOOK.lut(thresholds), BOOK.lut_from_bins(lowest))
    assert [edge_of_bin(BOOK, b) for b in lowest] == list(thresholds)


def test_a_threshold_of_its_own_stays() -> None:
    assert per_class(["a", "b"], [0.4, 0.5], {"b": 0.9}) == [0.4, 0.9]
