"""What became of a label set: the same images labelled before and after, by the teachers of two rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.numbers import by_name, ratio, share


class ChangeResult(TypedDict):
    """Shares are of all pixels unless said otherwise; None means not defined."""

    images: int
    pixels: int
    coverage_before: float | None  # labelled before
    coverage_after: float | None
    same: float | None  # of one class in both, or ignored in both
    gained: float | None  # ignored before, labelled after
    lost: float | None  # labelled before, ignored after
    switched: float | None  # labelled in both, as different classes
    agree: float | None  # share of the pixels labelled in both that have the same class
    before: dict[str, float | None]  # by class
    after: dict[str, float | None]
    iou: dict[str, float | None]  # by class: pixels of it in both, among those of it in either


class Change:
    """Compares two label maps of the same image; one `add` an image."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        count = len(self._names) + 1
        self._matrix = np.zeros((count, count), np.int64)  # rows: before, columns: after; the last of each: ignored
        self._images = 0

    def add(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
        """Count one image; both maps hold train ids (H, W), ignore = 255."""
        assert before.shape == after.shape, (before.shape, after.shape)
        count = len(self._names) + 1
        old, new = (np.minimum(label, count - 1).astype(np.int64) for label in (before, after))
        self._matrix += np.bincount((old * count + new).ravel(), minlength=count**2).reshape(count, count)
        self._images += 1

    def result(self) -> ChangeResult:
        matrix, both = self._matrix, self._matrix[:-1, :-1]
        pixels, hits = matrix.sum(), np.diagonal(both)
        before, after = matrix[:-1].sum(axis=1), matrix[:, :-1].sum(axis=0)  # (K,)
        return ChangeResult(
            images=self._images,
            pixels=int(pixels),
            coverage_before=share(before.sum(), pixels),
            coverage_after=share(after.sum(), pixels),
            same=share(np.trace(matrix), pixels),
            gained=share(matrix[-1, :-1].sum(), pixels),
            lost=share(matrix[:-1, -1].sum(), pixels),
            switched=share(both.sum() - hits.sum(), pixels),
            agree=share(hits.sum(), both.sum()),
            before=by_name(self._names, ratio(before, pixels)),
            after=by_name(self._names, ratio(after, pixels)),
            iou=by_name(self._names, ratio(hits, before + after - hits)),
        )
