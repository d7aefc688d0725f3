"""Intersection over union and its companions, all from one confusion matrix.

A matrix is (K, K) or (K, K + 1): rows are labels, columns predictions, and the optional last column counts pixels
predicted as ignore. NaN stands for "not defined" in arrays, None in the JSON-able result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.intervals import Intervals
from autolabel.evaluation.numbers import by_name, fraction, number, ratio


class EvaluationResult(TypedDict):
    """JSON-able figures of one evaluation; fractions lie in 0..1, None means not defined."""

    miou: float | None  # mean over the classes that occur in the labels or the predictions
    iou: dict[str, float | None]  # by class name, in train-id order
    accuracy: float | None  # fraction of labelled pixels that are predicted right
    matrix: list[list[int]]  # (K, K + 1), rows = label, last column = predicted ignore
    intervals: NotRequired[Intervals]  # where the images were counted one by one


def iou(matrix: NDArray[np.integer]) -> NDArray[np.float64]:  # (K,)
    """TP / (TP + FP + FN) per class; NaN where a class is in neither the labels nor the predictions.

    A labelled pixel predicted as ignore is a false negative.
    """
    hits = np.diagonal(matrix).astype(np.float64)
    labelled = matrix.sum(axis=1)
    predicted = matrix[:, : len(matrix)].sum(axis=0)
    return ratio(hits, labelled + predicted - hits)


def precision(matrix: NDArray[np.integer]) -> NDArray[np.float64]:  # (K,)
    """Fraction of the labelled pixels predicted as a class that belong to it; NaN for a class never predicted."""
    return ratio(np.diagonal(matrix), matrix[:, : len(matrix)].sum(axis=0))


def recall(matrix: NDArray[np.integer]) -> NDArray[np.float64]:  # (K,)
    """Fraction of a class's labelled pixels predicted as it; ignore is a miss. NaN for a class never labelled."""
    return ratio(np.diagonal(matrix), matrix.sum(axis=1))


def mean_iou(matrix: NDArray[np.integer]) -> float:
    """Mean IoU over the classes present in either map; NaN if there is none."""
    values = iou(matrix)
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else math.nan


def pixel_accuracy(matrix: NDArray[np.integer]) -> float:
    """Fraction of labelled pixels predicted right; predicted ignore is wrong. NaN without labelled pixels."""
    accuracy = fraction(np.trace(matrix[:, : len(matrix)]), matrix.sum())
    return math.nan if accuracy is None else accuracy


def evaluation_result(matrix: NDArray[np.integer], names: Sequence[str]) -> EvaluationResult:
    """Gather the figures of `matrix`; `names` are the class names in train-id order."""
    assert len(names) == len(matrix), f"{len(names)} names for {len(matrix)} classes"
    return EvaluationResult(
        miou=number(mean_iou(matrix)),
        iou=by_name(names, iou(matrix)),
        accuracy=number(pixel_accuracy(matrix)),
        matrix=matrix.tolist(),
    )
