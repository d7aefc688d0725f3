"""Intervals of mIoU and accuracy: a bootstrap over images, or over groups of images such as cities and drives.

Neighbouring pixels and frames are alike, so a figure is as certain as the number of independent images behind it, not
as its number of pixels. Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. The sums are
whole numbers below 2**53, so equal counts give equal intervals on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.numbers import ratio

CONFIDENCE = 0.95
MIN_UNITS = 5  # a bootstrap of fewer says too little: of groups it draws images instead, of images it draws nothing
TOO_FEW = "too few images for an interval"  # wherever a figure stands without one
RIGHT, LABELLED, PREDICTED, VALID = range(4)  # the last axis of `image_counts`

_REPLICATES = 1000
_AT_ONCE = 100  # replicates: bounds the memory
_DECIMALS = 6
Interval = tuple[float, float]


class Intervals(TypedDict):
    """95 % intervals; None where there are too few images, or no labelled pixel."""

    miou: Interval | None
    accuracy: Interval | None
    over: Literal["images", "groups"]  # the units that the bootstrap draws
    units: int  # number of them


def image_counts(matrix: NDArray[np.integer]) -> NDArray[np.int64]:
    """(K, 4) pixels per class of one image's confusion matrix (K, K + 1): all that IoU and accuracy need.

    Right; labelled; labelled with any class and predicted as this one; labelled and predicted as any class.
    """
    square = matrix[:, : len(matrix)]
    columns = (np.diagonal(square), matrix.sum(axis=1), square.sum(axis=0), square.sum(axis=1))
    return np.stack(columns, axis=1).astype(np.int64)


def sum_by_unit(
    counts: NDArray[np.integer], groups: Sequence[str]
) -> tuple[NDArray[np.float64], Literal["images", "groups"]]:
    """Sum the counts (N, ...) of images over their groups if there are at least MIN_UNITS; say what the units are."""
    names, index = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    if not MIN_UNITS <= len(names) < len(counts):
        return counts.astype(np.float64), "images"
    summed = np.zeros((len(names), *counts.shape[1:]))
    np.add.at(summed, index, counts)
    return summed, "groups"


def intervals(counts: NDArray[np.integer], groups: Sequence[str], *, ignored: bool = True) -> Intervals:
    """The intervals of images with counts (N, K, 4), each with its group. `ignored=False`: as in `accuracy_of`."""
    units, over = sum_by_unit(counts, groups)
    return Intervals(
        miou=interval(units, lambda total: miou_of(total)),
        accuracy=interval(units, lambda total: accuracy_of(total, ignored=ignored)),
        over=over,
        units=len(units),
    )


def gain_interval(ours: NDArray[np.integer], base: NDArray[np.integer], groups: Sequence[str]) -> Interval | None:
    """The interval of the difference in mIoU between two networks on the same images: both counts are (N, K, 4)."""
    units, _ = sum_by_unit(np.concatenate([ours, base], axis=1), groups)
    num_classes = ours.shape[1]
    return interval(units, lambda total: miou_of(total[:, :num_classes]) - miou_of(total[:, num_classes:]))


def interval(
    units: NDArray[np.float64], figure: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Interval | None:
    """The percentile interval of `figure`, a function from sums (R, ...) to (R,), over units (U, ...); seeded.

    None for fewer than MIN_UNITS, and where the figure is undefined.
    """
    if len(units) < MIN_UNITS:
        return None
    rng = np.random.default_rng(0)
    flat = units.reshape(len(units), -1)
    values = []
    for _ in range(0, _REPLICATES, _AT_ONCE):
        draws = rng.integers(0, len(units), (_AT_ONCE, len(units)))
        times = np.stack([np.bincount(row, minlength=len(units)) for row in draws]).astype(np.float64)
        values.append(figure((times @ flat).reshape(_AT_ONCE, *units.shape[1:])))
    found = np.concatenate(values)
    found = found[~np.isnan(found)]
    if not found.size:
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail]).round(_DECIMALS).tolist()
    return low, high


def miou_of(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R,) mean IoU of sums (R, K, 4) over the classes that occur; NaN without one. As `iou.mean_iou`."""
    right = total[..., RIGHT]
    values = ratio(right, total[..., LABELLED] + total[..., PREDICTED] - right)
    present = ~np.isnan(values)
    return ratio(np.where(present, values, 0.0).sum(axis=-1), present.sum(axis=-1))


def accuracy_of(total: NDArray[np.float64], *, ignored: bool = True) -> NDArray[np.float64]:
    """(R,) fraction of labelled pixels predicted right; `ignored=False` leaves out those predicted as ignore."""
    among = total[..., LABELLED if ignored else VALID]
    return ratio(total[..., RIGHT].sum(axis=-1), among.sum(axis=-1))
