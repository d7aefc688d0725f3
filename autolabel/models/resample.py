"""Linear resampling of one axis as short runs of weights, which compose exactly.

Bilinear resizing is linear and separable: what it does along one axis is a matrix with two neighbouring weights a row.
Two of them in a row are their product, again with few weights a row. Where sizes divide, zeros fall out: x4 followed by
/2 is x2 itself, two weights, and the map of x4 need never exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ResampleWeights:
    """target[i] = sum over t of weights[i, t] * source[first[i] + t], in float64; every tap lies inside the source."""

    source: int  # length
    first: np.ndarray  # (n,) int64
    weights: np.ndarray  # (n, T) float64

    def __len__(self) -> int:
        return len(self.first)

    @property
    def width(self) -> int:
        width: int = self.weights.shape[1]
        return width

    def after(self, inner: ResampleWeights) -> ResampleWeights:
        """This resampling of what `inner` gives, as one."""
        assert self.source == len(inner), (self.source, len(inner))
        middle = self.first[:, None] + np.arange(self.width)  # (n, T): positions between the two
        first = inner.first[middle].min(axis=1)
        shift = inner.first[middle] - first[:, None]
        weights = np.zeros((len(self), int(shift.max()) + inner.width))
        rows = np.arange(len(self))[:, None]
        for t in range(self.width):
            columns = shift[:, t, None] + np.arange(inner.width)
            weights[rows, columns] += self.weights[:, t, None] * inner.weights[middle[:, t]]
        return _trimmed(inner.source, first, weights)

    def block(self, start: int, stop: int) -> tuple[int, np.ndarray]:
        """For targets start ... stop - 1: the first source position they need, and the dense matrix (targets, sources)
        from there on."""
        first, weights = self.first[start:stop], self.weights[start:stop]
        low = int(first.min())
        matrix = np.zeros((stop - start, int(first.max()) + self.width - low))
        columns = (first - low)[:, None] + np.arange(self.width)
        matrix[np.arange(stop - start)[:, None], columns] = weights
        return low, matrix


def identity(length: int) -> ResampleWeights:
    return ResampleWeights(length, np.arange(length), np.ones((length, 1)))


def bilinear(source: int, target: int) -> ResampleWeights:
    """Half-pixel centres (align_corners False), clamped at the ends, no antialias: what `models.resize` does."""
    if source == target:
        return identity(source)
    position = np.maximum((np.arange(target) + 0.5) * source / target - 0.5, 0)
    low = np.minimum(position.astype(np.int64), source - 1)
    share = np.where(low == source - 1, 0, position - low)
    return _trimmed(source, low, np.stack([1 - share, share], axis=1))


def _trimmed(source: int, first: np.ndarray, weights: np.ndarray) -> ResampleWeights:
    """Without leading zeros, as narrow as the widest row allows, and no tap outside the source."""
    used = weights != 0
    lead = used.argmax(axis=1)
    width = int((weights.shape[1] - used[:, ::-1].argmax(axis=1) - lead).max())
    start = np.minimum(first + lead, source - width)  # rows at the end begin earlier
    columns = (start - first)[:, None] + np.arange(width)
    inside = (columns >= 0) & (columns < weights.shape[1])
    taken = np.take_along_axis(weights, columns.clip(0, weights.shape[1] - 1), axis=1)
    return ResampleWeights(source, start, np.where(inside, taken, 0))
