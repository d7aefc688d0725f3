"""Linear resampling of one axis as a banded matrix; two resamplings compose exactly.

Bilinear resizing is linear and separable. Along one axis it is a matrix with two adjacent weights per row. Two resizes
in a row are the product of their matrices, which again has few weights per row. Where sizes divide, zeros drop out: x4
followed by /2 is x2 with two weights, and the map of x4 need never exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ResampleWeights:
    """target[i] = sum over t of weights[i, t] * source[first[i] + t], in float64; all indices lie in the source."""

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
        """One resampling that equals `inner` followed by this one."""
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
        """For targets start ... stop - 1: their first source position, and the dense matrix (targets, sources) from
        there on."""
        first, weights = self.first[start:stop], self.weights[start:stop]
        low = int(first.min())
        matrix = np.zeros((stop - start, int(first.max()) + self.width - low))
        columns = (first - low)[:, None] + np.arange(self.width)
        matrix[np.arange(stop - start)[:, None], columns] = weights
        return low, matrix


def identity(length: int) -> ResampleWeights:
    return ResampleWeights(length, np.arange(length), np.ones((length, 1)))


def bilinear(source: int, target: int) -> ResampleWeights:
    """Bilinear resizing as in `models.resize`: half-pixel centres (align_corners False), clamped, no antialias."""
    if source == target:
        return identity(source)
    position = np.maximum((np.arange(target) + 0.5) * source / target - 0.5, 0)
    low = np.minimum(position.astype(np.int64), source - 1)
    fraction = np.where(low == source - 1, 0, position - low)
    return _trimmed(source, low, np.stack([1 - fraction, fraction], axis=1))


def _trimmed(source: int, first: np.ndarray, weights: np.ndarray) -> ResampleWeights:
    """Drop leading zeros, make the rows as narrow as the widest allows, and keep every index inside the source."""
    used = weights != 0
    lead = used.argmax(axis=1)
    width = int((weights.shape[1] - used[:, ::-1].argmax(axis=1) - lead).max())
    start = np.minimum(first + lead, source - width)  # rows at the end start earlier
    columns = (start - first)[:, None] + np.arange(width)
    inside = (columns >= 0) & (columns < weights.shape[1])
    taken = np.take_along_axis(weights, columns.clip(0, weights.shape[1] - 1), axis=1)
    return ResampleWeights(source, start, np.where(inside, taken, 0))
