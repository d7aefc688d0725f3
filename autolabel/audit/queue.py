"""The order in which a person should look at labels: expected wrong pixels, times rarity, times disagreement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.audit.cells import CellIndex

Floats = NDArray[np.float64]

MOST_RARE = 10.0  # no class counts as more than this many pixels of a usual one


class Ranked(NamedTuple):
    """Images by rank, the most urgent first."""

    order: NDArray[np.int64]  # (N,) positions in the label set
    scores: Floats  # (N,) by position
    wrong: Floats  # (N,) expected number of wrong pixels, by position


def rarity(class_pixels: NDArray[np.integer] | Floats) -> Floats:
    """(K,) weight of a wrong pixel: the square root of how much rarer its class is than the median one, at most 10."""
    pixels = np.asarray(class_pixels, np.float64)
    usual = float(np.median(pixels[pixels > 0])) if (pixels > 0).any() else 1.0
    weights: Floats = np.sqrt(usual / np.maximum(pixels, 1.0)).clip(1 / MOST_RARE, MOST_RARE)
    return weights


def rank(index: CellIndex, right: Floats) -> Ranked:
    """Rank by the cells; `right` (K, B) is the probability that a pixel of the class and bin is right.

    Pixels that a person drew count as right. An image whose coarse label contradicts the teacher everywhere counts
    twice.
    """
    rows, classes, sources, pixels = index.labelled()
    own = sources < index.bins
    rows, classes, sources, pixels = rows[own], classes[own], sources[own], pixels[own]
    wrong = pixels * (1 - right[classes, sources])
    weights = rarity(index.totals().sum(axis=1))
    size = len(index.images)
    scores = np.bincount(rows, weights=wrong * weights[classes], minlength=size) * (1 + index.contradicted)
    expected = np.bincount(rows, weights=wrong, minlength=size).astype(np.float64)
    return Ranked(np.argsort(-scores, kind="stable"), scores, expected)


def rank_by_table(
    pixels: Floats, fractions: Floats, confidence: Floats, contradicted: Sequence[float] | Floats
) -> Ranked:
    """A first ranking, from a label set's table alone: (N,) pixels, (N, K) fractions by class, (N,) mean confidence.

    It spreads the expected errors of an image evenly over its labelled pixels; `rank` knows them by class.
    """
    kept = fractions.sum(axis=1)
    wrong = pixels * kept * (1 - confidence)
    weights = rarity((pixels[:, None] * fractions).sum(axis=0))
    mean = (fractions * weights).sum(axis=1) / np.maximum(kept, 1e-12)
    scores = wrong * mean * (1 + np.asarray(contradicted))
    return Ranked(np.argsort(-scores, kind="stable"), scores, wrong)
