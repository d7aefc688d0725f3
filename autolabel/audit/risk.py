"""Thresholds with a promise: the error of the kept pixels is at most `max_error`, with probability `confidence`.

Learn then Test (Angelopoulos et al., 2021): a threshold is promised once the hypothesis "its error is too large" is
rejected on held-out images. The units are images, or groups of images that are alike. Nothing is assumed but that they
are drawn like those to label. The evidence against a hypothesis is the wealth of a bettor who cannot win if it is true
(Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, 2024): it exceeds 1/d with
probability d at most, for any number of units.

The error of a class is the mean over images of the fraction of its kept pixels that is wrong. An image counts in full
from FULL_WEIGHT of its pixels on, and in proportion below: else three stray pixels would weigh as much as a street.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FULL_WEIGHT = 1e-3  # fraction of an image's pixels
_STARTS = 3  # places where the search for the lowest threshold begins
# Stakes as fractions of the largest one that cannot lose more than all, with their part of the wealth. The largest
# wins most without errors, the smaller ones where a few are tolerated.
_STAKES = ((0.99, 0.5), (0.5, 0.2), (0.25, 0.15), (0.1, 0.15))


def image_excess(wrong: Floats, kept: Floats, pixels: Floats, max_error: float) -> Floats:
    """(N, ...) weight of each image times its error above `max_error`; wrong and kept pixels are (N, ...), pixels (N,).

    The mean is at most 0 where the promise holds; values lie between -max_error and 1 - max_error.
    """
    full = FULL_WEIGHT * pixels.reshape(-1, *[1] * (kept.ndim - 1))
    excess: Floats = (wrong - max_error * kept) / np.maximum(np.maximum(kept, full), 1)
    return excess


def unit_means(values: Floats, units: Sequence[str]) -> Floats:
    """(U, ...) means of (N, ...) over images of the same unit, in the order of the units' names."""
    _, index = np.unique(np.array(units, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((int(index.max()) + 1 if len(index) else 0, *values.shape[1:]))
    np.add.at(sums, index, values)
    means: Floats = sums / np.bincount(index).reshape(-1, *[1] * (values.ndim - 1))
    return means


def p_values(excess: Floats, max_error: float) -> Floats:
    """(...) p-values of "the mean of `excess` (U, ...) is above 0", each valid for any number of units."""
    largest = 1 / (1 - max_error)
    wealth = sum(part * np.prod(1 - size * largest * excess, axis=0) for size, part in _STAKES)
    smallest: Floats = np.minimum(1 / np.maximum(wealth, 1e-300), 1.0)
    return smallest


def promised(p: Sequence[float], confidence: float) -> int | None:
    """The lowest index whose promise holds with probability `confidence`; None if none does.

    `p` belongs to rising thresholds. From each of a few starts, fixed before any data is seen, the search goes down
    until a hypothesis is not rejected. All thresholds that it passed hold jointly; the error is split over the starts.
    """
    size = len(p)
    starts = sorted({(size - 1) * step // _STARTS for step in range(1, _STARTS + 1)}, reverse=True)
    level = (1 - confidence) / len(starts)
    found = []
    for start in starts:
        index = start
        while index >= 0 and p[index] <= level:
            found.append(index)
            index -= 1
    return min(found, default=None)


def units_needed(max_error: float, confidence: float) -> int:
    """The number of units without any error that the promise takes at least."""
    level = (1 - confidence) / _STARTS
    size, units = 1 / (1 - max_error), 0
    wealth = [part for _, part in _STAKES]
    while sum(wealth) < 1 / level:
        wealth = [w * (1 + stake * size * max_error) for w, (stake, _) in zip(wealth, _STAKES, strict=True)]
        units += 1
    return units
