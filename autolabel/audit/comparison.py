"""Comparison of two label sets of the same images.

`Comparison` measures labels against reference labels: auto labels against coarse ones, or either against the truth.
`LabelDiff` measures how the labels of one round differ from those of the round before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.confusion import confusion_matrix
from autolabel.evaluation.intervals import Interval, image_counts, intervals
from autolabel.evaluation.iou import evaluation_result, iou, mean_iou, precision, recall
from autolabel.evaluation.numbers import by_name, fraction, number, ratio


class Confusion(TypedDict):
    label: str  # class of the reference
    prediction: str  # class of the compared label
    pixels: int
    share: float  # fraction of the reference class's pixels that have any label


class ComparisonResult(TypedDict):
    """A "valid" pixel is one that the compared label set labels. Fractions lie in 0..1, None means not defined."""

    images: int
    pixels: int
    reference_pixels: int  # labelled in the reference
    coverage: float | None  # fraction of all pixels that are valid
    beyond: float | None  # fraction of all pixels that are valid and unlabelled in the reference
    valid: float | None  # fraction of reference pixels that are valid
    agree: float | None  # fraction of reference pixels that are valid and right
    accuracy: float | None  # fraction of valid reference pixels that are right
    accuracy_interval: Interval | None  # 95 %, from a bootstrap over images or groups
    miou: float | None  # an ignored pixel counts as a miss
    miou_interval: Interval | None
    miou_valid: float | None  # over valid pixels only: what training sees
    iou: dict[str, float | None]
    iou_valid: dict[str, float | None]
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    matrix: list[list[int]]  # (K, K + 1), rows = reference, last column = ignored
    confusions: list[Confusion]  # most frequent first


class Comparison:
    """Compares label maps with reference maps of the same images; call `add` once per image."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._matrix = np.zeros((len(self._names), len(self._names) + 1), np.int64)
        self._counts: list[NDArray[np.uint32]] = []  # per image
        self._groups: list[str] = []
        self._images = self._pixels = self._valid = 0

    def add(self, label: NDArray[np.integer], reference: NDArray[np.integer], *, group: str = "") -> None:
        """Count one image of a group (city, drive); both maps hold train ids (H, W), ignore = 255."""
        matrix = confusion_matrix(label, reference, len(self._names))
        self._matrix += matrix
        self._counts.append(image_counts(matrix).astype(np.uint32))
        self._groups.append(group)
        self._images += 1
        self._pixels += label.size
        self._valid += int(np.count_nonzero((label >= 0) & (label < len(self._names))))

    def result(self) -> ComparisonResult:
        matrix, square = self._matrix, self._matrix[:, :-1]
        hits = np.trace(square)
        strict = evaluation_result(matrix, self._names)
        counts = np.array(self._counts).reshape(-1, len(self._names), 4)
        between = intervals(counts, self._groups, ignored=False)
        return ComparisonResult(
            images=self._images,
            pixels=self._pixels,
            reference_pixels=int(matrix.sum()),
            coverage=fraction(self._valid, self._pixels),
            beyond=fraction(self._valid - square.sum(), self._pixels),
            valid=fraction(square.sum(), matrix.sum()),
            agree=fraction(hits, matrix.sum()),
            accuracy=fraction(hits, square.sum()),
            accuracy_interval=between["accuracy"],
            miou=strict["miou"],
            miou_interval=between["miou"],
            miou_valid=number(mean_iou(square)),
            iou=strict["iou"],
            iou_valid=by_name(self._names, iou(square)),
            precision=by_name(self._names, precision(matrix)),
            recall=by_name(self._names, recall(matrix)),
            matrix=strict["matrix"],
            confusions=top_confusions(matrix, self._names),
        )


def top_confusions(
    matrix: NDArray[np.integer] | Sequence[Sequence[int]], names: Sequence[str], *, limit: int = 10
) -> list[Confusion]:
    """The class pairs with the most confused pixels; pixels predicted as ignore are left out."""
    square = np.asarray(matrix)[:, : len(names)].copy()
    labelled = square.sum(axis=1)
    np.fill_diagonal(square, 0)
    order = np.argsort(-square, axis=None, kind="stable")[:limit]  # stable: ties in class order
    pairs = [divmod(int(i), len(names)) for i in order]
    return [
        Confusion(
            label=names[row],
            prediction=names[column],
            pixels=int(square[row, column]),
            share=float(square[row, column] / labelled[row]),
        )
        for row, column in pairs
        if square[row, column]
    ]


class LabelDiffResult(TypedDict):
    """Figures are fractions of all pixels unless a comment says otherwise; None means not defined."""

    images: int
    pixels: int
    coverage_before: float | None  # labelled before
    coverage_after: float | None
    same: float | None  # same class in both, or ignored in both
    gained: float | None  # ignored before, labelled after
    lost: float | None  # labelled before, ignored after
    switched: float | None  # labelled in both, as different classes
    agree: float | None  # fraction of the pixels labelled in both that have the same class
    before: dict[str, float | None]  # by class
    after: dict[str, float | None]
    iou: dict[str, float | None]  # by class: pixels of the class in both over pixels of it in either


class RoundChange(LabelDiffResult):
    """The change from one round of self-training to the next."""

    truth: dict[str, float | None]  # share of labelled pixels that are right, "before" and "after"
    truth_interval: dict[str, Interval | None]


class LabelDiff:
    """Compares two label maps of the same images; call `add` once per image."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        count = len(self._names) + 1
        self._matrix = np.zeros((count, count), np.int64)  # rows: before, columns: after; the last ones: ignored
        self._images = 0

    def add(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
        """Count one image; both maps hold train ids (H, W), ignore = 255."""
        assert before.shape == after.shape, (before.shape, after.shape)
        count = len(self._names) + 1
        old, new = (np.minimum(label, count - 1).astype(np.int64) for label in (before, after))
        self._matrix += np.bincount((old * count + new).ravel(), minlength=count**2).reshape(count, count)
        self._images += 1

    def result(self) -> LabelDiffResult:
        matrix, both = self._matrix, self._matrix[:-1, :-1]
        pixels, hits = matrix.sum(), np.diagonal(both)
        before, after = matrix[:-1].sum(axis=1), matrix[:, :-1].sum(axis=0)  # (K,)
        return LabelDiffResult(
            images=self._images,
            pixels=int(pixels),
            coverage_before=fraction(before.sum(), pixels),
            coverage_after=fraction(after.sum(), pixels),
            same=fraction(np.trace(matrix), pixels),
            gained=fraction(matrix[-1, :-1].sum(), pixels),
            lost=fraction(matrix[:-1, -1].sum(), pixels),
            switched=fraction(both.sum() - hits.sum(), pixels),
            agree=fraction(hits.sum(), both.sum()),
            before=by_name(self._names, ratio(before, pixels)),
            after=by_name(self._names, ratio(after, pixels)),
            iou=by_name(self._names, ratio(hits, before + after - hits)),
        )
