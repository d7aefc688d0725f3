"""Bootstrap intervals against a plain loop, against known truth, and against themselves on another run."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.evaluation.confusion import confusion_matrix
from autolabel.evaluation.intervals import (
    accuracy_of,
    gain_interval,
    image_counts,
    interval,
    intervals,
    miou_of,
    sum_by_unit,
)
from autolabel.evaluation.iou import mean_iou, pixel_accuracy

K = 3


def matrices(images: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = rng.choice([0, 0, 1, 2, 255], size=(images, 2, 6, 7)).astype(np.uint8)
    return [confusion_matrix(prediction, label, K) for prediction, label in maps]


def counts_of(found: list[np.ndarray]) -> np.ndarray:
    return np.stack([image_counts(matrix) for matrix in found])


def test_figures_of_counts_equal_those_of_the_matrix() -> None:
    found = matrices(5)
    total = counts_of(found).sum(axis=0, dtype=np.float64)[None]
    matrix = np.sum(found, axis=0)
    assert miou_of(total)[0] == pytest.approx(mean_iou(matrix), abs=1e-15)
    assert accuracy_of(total)[0] == pixel_accuracy(matrix)
    valid = matrix[:, :K]
    assert accuracy_of(total, ignored=False)[0] == np.trace(valid) / valid.sum()


def test_an_interval_equals_a_loop_over_images() -> None:
    found = matrices(12)
    low, high = intervals(counts_of(found), [str(i) for i in range(12)])["miou"] or (0, 0)
    rng = np.random.default_rng(1)
    values = [mean_iou(np.sum([found[i] for i in rng.integers(0, 12, 12)], axis=0)) for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.02)


def test_groups_widen_what_neighbours_would_narrow() -> None:
    """Ten drives of twenty equal frames each: an interval over 200 images would be far too narrow."""
    drives = counts_of(matrices(10)).repeat(20, axis=0)
    by_drive = intervals(drives, [f"drive {i // 20}" for i in range(200)])
    by_image = intervals(drives, [f"frame {i}" for i in range(200)])
    assert (by_drive["over"], by_drive["units"]) == ("groups", 10)
    assert (by_image["over"], by_image["units"]) == ("images", 200)
    width = [np.ptp(one["miou"]) for one in (by_drive, by_image)]
    assert width[0] > 3 * width[1]


@pytest.mark.parametrize("groups", [["one"] * 6, ["a", "b", "c", "d", "d", "d"]])
def test_few_groups_are_no_units(groups: list[str]) -> None:
    units, over = sum_by_unit(counts_of(matrices(6)), groups)
    assert (len(units), over) == (6, "images")


def test_few_images_and_no_pixel_have_no_interval() -> None:
    for number in (1, 2, 4):
        few = intervals(counts_of(matrices(number)), ["a"] * number)
        assert few["miou"] is few["accuracy"] is None
        assert gain_interval(counts_of(matrices(number)), counts_of(matrices(number, 1)), ["a"] * number) is None
    assert intervals(counts_of(matrices(5)), ["a"] * 5)["miou"] is not None
    nothing = intervals(np.zeros((7, K, 4), np.int64), list("abcdefg"))
    assert nothing["miou"] is nothing["accuracy"] is None


def test_the_same_counts_give_the_same_interval() -> None:
    counts = counts_of(matrices(30))
    assert intervals(counts, [""] * 30) == intervals(counts, [""] * 30)


def test_ninety_five_percent_cover_the_truth() -> None:
    """300 data sets of 40 images whose accuracies are drawn around 0.8: the interval holds 0.8 in about 95 %."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(300):
        right = rng.binomial(1000, rng.beta(16, 4, 40)).astype(np.float64)
        low, high = interval(np.stack([right, np.full(40, 1000.0)], axis=1), lambda t: t[:, 0] / t[:, 1]) or (1, 0)
        held += low <= 0.8 <= high
    assert 0.90 <= held / 300 <= 0.98


def test_a_gain_is_surer_than_both_figures() -> None:
    """Networks that fail on the same images: their difference is known better than either mIoU."""
    base = matrices(40)
    better = [matrix + np.eye(K, K + 1, dtype=np.int64) * 3 for matrix in base]
    groups = [str(i) for i in range(40)]
    low, high = gain_interval(counts_of(better), counts_of(base), groups) or (0, 0)
    alone = intervals(counts_of(base), groups)["miou"] or (0, 0)
    assert 0 < low < high
    assert high - low < (alone[1] - alone[0]) / 2
