"""Rules for thresholds: a quantile of the teacher's own confidence, or calibrated probabilities.

A rule gives the lowest bin that each class keeps; `Codebook.lut_from_bins` makes the table of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import SettingError
from autolabel.labels.codebook import Codebook


def quantile_thresholds(
    histogram: NDArray[np.integer], edges: Sequence[float], quantile: float, limits: tuple[float, float]
) -> list[float]:
    """Per class the bin edge that is closest to the `quantile` of the confidence of its pixels, within `limits`.

    `histogram` (K, B) holds the pixels to label by predicted class and bin. Ties, and classes without pixels, take the
    lower edge. Raises SettingError where no edge lies within the limits.
    """
    allowed = [index for index, edge in enumerate(edges) if limits[0] <= edge <= limits[1]]
    if not allowed:
        listed = ", ".join(f"{edge:g}" for edge in edges)
        raise SettingError("quantile_range", f"no bin edge lies in it; the edges are {listed}", "widen it")
    below = histogram.cumsum(axis=1)[:, allowed]  # pixels whose probability does not exceed the edge
    total = histogram.sum(axis=1, keepdims=True)
    nearest = np.abs(below - quantile * total).argmin(axis=1)
    return [float(edges[allowed[index]]) for index in nearest]


def calibrated_bins(probabilities: NDArray[np.floating], thresholds: Sequence[float]) -> list[int]:
    """Per class the lowest bin whose calibrated probability (K, B), which rises with the bin, exceeds its threshold.

    The number of bins where none does: the class keeps no pixel. A threshold of 0 keeps every pixel.
    """
    limits = np.array(thresholds)[:, None]
    kept = (probabilities > limits) | (limits == 0)
    return [kept.shape[1] - int(count) for count in kept.sum(axis=1)]


def require_reachable(thresholds: Sequence[float]) -> None:
    """SettingError if no probability exceeds any of them, so that every pixel would be ignored."""
    if all(threshold >= 1 for threshold in thresholds):
        what = "1 is exceeded by no probability, so every pixel would be ignored"
        raise SettingError("threshold", what, "give a number below 1")


def edge_of_bin(book: Codebook, lowest: int) -> float | None:
    """The threshold on the network's own number that keeps bins from `lowest` up; None where no bin is kept."""
    if lowest == book.bins:
        return None
    return book.edges[lowest - 1] if lowest else 0.0


def per_class(names: Sequence[str], values: Sequence[float], own: Mapping[str, float]) -> list[float]:
    """The values by class, where `own` holds no other for its name."""
    return [own.get(name, value) for name, value in zip(names, values, strict=True)]


def histogram_of(book: Codebook, codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """(K, B) pixels of codes of any shape by predicted class and bin; invalid codes are left out."""
    counts = np.bincount(codes.ravel(), minlength=book.num_codes)[: book.num_codes]
    table: NDArray[np.int64] = counts.reshape(book.num_classes, book.bins, book.seconds).sum(axis=2)
    return table
