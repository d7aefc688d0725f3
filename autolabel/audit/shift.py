"""Predicted accuracy of images and groups before anyone looks, and an alarm for groups that the teacher does not know.

The mean calibrated probability of an image's pixels predicts its accuracy (average confidence: Guillory et al.,
Predicting with confidence on unseen distributions, 2021). A line fitted on held-out images corrects it, and their
residuals say how far a prediction may be off. Confidence cannot see every shift: a group that is wrong and sure raises
no alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.numbers import number

Floats = NDArray[np.float64]

_ALARM = 3.0  # deviations of the held-out units
_LEAST_UNITS = 3
_LEAST_DEVIATION = 0.01  # smaller differences of accuracy are of no interest


class Line(NamedTuple):
    """Accuracy = slope * confidence + offset, with the deviation of an image from it."""

    slope: float
    offset: float
    deviation: float


class GroupAccuracy(TypedDict):
    group: str
    images: int
    confidence: float  # mean calibrated probability of its pixels
    accuracy: float  # predicted
    unknown: bool  # whether the teacher does not know such images


class ShiftResult(TypedDict):
    held_out: int  # images that the prediction was fitted on
    units: int  # groups of them, or images where there are too few groups
    error: float | None  # mean absolute error of an image's predicted accuracy; None for too few images
    accuracy: float | None  # predicted, of all pixels to label, whatever their probability
    limit: float | None  # a group whose confidence is lower raises the alarm
    groups: list[GroupAccuracy]  # the least accurate first
    lowest: list[str]  # the ten images with the lowest predicted accuracy


def fit_line(confidence: Floats, accuracy: Floats) -> Line:
    """The least squares line through (N,) images, its slope shrunk towards 1 as by two images; 1 and 0 without any."""
    if not len(confidence):
        return Line(1.0, 0.0, 0.0)
    centre, mean = float(confidence.mean()), float(accuracy.mean())
    apart = confidence - centre
    prior = 2 * max(float(apart.var()), 1e-4)
    slope = float(((apart * (accuracy - mean)).sum() + prior) / ((apart**2).sum() + prior))
    residuals = accuracy - (mean + slope * apart)
    return Line(slope, mean - slope * centre, float(np.sqrt((residuals**2).mean())))


def mean_confidence(pixels: Floats, probabilities: Floats) -> Floats:
    """(N,) mean probability of the pixels of images, counted by class and bin (N, K, B)."""
    total = pixels.sum(axis=(1, 2))
    stated = (pixels * probabilities).sum(axis=(1, 2))
    mean: Floats = np.divide(stated, total, out=np.zeros_like(stated), where=total > 0)
    return mean


def held_out_images(
    predicted: Floats, labelled: Floats, right: Floats, probabilities: Floats, groups: Sequence[str]
) -> tuple[Floats, Floats, list[str]]:
    """Confidence, accuracy and groups of the held-out images that have labelled pixels; counts are (N, K, B).

    Accuracy is that of the labelled pixels. Confidence is that of all predicted ones, as for the images to label: void
    areas are part of every image, and the teacher is less sure there.
    """
    pixels = labelled.sum(axis=(1, 2))
    used = pixels > 0
    accuracy = right.sum(axis=(1, 2))[used] / pixels[used]
    names = [group for group, is_used in zip(groups, used, strict=True) if is_used]
    return mean_confidence(predicted, probabilities)[used], accuracy, names


def shift_result(
    held_out: tuple[Floats, Floats, Sequence[str]], images: tuple[Floats, Sequence[str], Sequence[str]]
) -> ShiftResult:
    """Predict the accuracy of images from those held out.

    `held_out`: confidence (N,), accuracy (N,), groups. `images`: confidence (M,), groups, ids.
    """
    confidence, accuracy, units = held_out
    found, groups, ids = images
    line = fit_line(confidence, accuracy)
    predicted = np.clip(line.slope * found + line.offset, 0, 1)
    limit = _limit(confidence, units)
    rows = _groups(found, predicted, groups, limit)
    order = np.argsort(predicted, kind="stable")
    return ShiftResult(
        held_out=len(confidence),
        units=len(_means(confidence, units)),
        error=number(_error(confidence, accuracy)),
        accuracy=number(float(predicted.mean())) if len(predicted) else None,
        limit=number(limit),
        groups=rows,
        lowest=[ids[i] for i in order[:10]],
    )


def unknown_groups(result: ShiftResult | None) -> list[str]:
    """Groups that the teacher does not know."""
    return [] if result is None else [row["group"] for row in result["groups"] if row["unknown"]]


def _means(values: Floats, units: Sequence[str]) -> Floats:
    """Means by group; by image where there are too few groups."""
    names, index = np.unique(np.array(units, dtype=object).astype(str), return_inverse=True)
    if len(names) < _LEAST_UNITS:
        return values
    means: Floats = np.bincount(index, weights=values) / np.bincount(index)
    return means


def _limit(confidence: Floats, units: Sequence[str]) -> float:
    """The lowest confidence that held-out units explain; NaN for too few."""
    means = _means(confidence, units)
    if len(means) < _LEAST_UNITS:
        return float("nan")
    deviation = max(float(means.std(ddof=1)), _LEAST_DEVIATION)
    return float(means.mean()) - _ALARM * deviation * float(np.sqrt(1 + 1 / len(means)))


def _groups(found: Floats, predicted: Floats, groups: Sequence[str], limit: float) -> list[GroupAccuracy]:
    names, index = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(index, minlength=len(names))
    confidence, accuracy = (np.bincount(index, weights=values) / sizes for values in (found, predicted))
    rows = [
        GroupAccuracy(
            group=str(names[g]),
            images=int(sizes[g]),
            confidence=float(confidence[g]),
            accuracy=float(accuracy[g]),
            unknown=bool(confidence[g] < limit),
        )
        for g in range(len(names))
    ]
    return sorted(rows, key=lambda row: (row["accuracy"], row["group"]))


def _error(confidence: Floats, accuracy: Floats) -> float:
    """Mean absolute error of the prediction for a held-out image, each from the other half; NaN for fewer than four."""
    half = len(confidence) // 2
    if half < 2:
        return float("nan")
    parts = np.s_[:half], np.s_[half:]
    errors = []
    for own, other in (parts, parts[::-1]):
        line = fit_line(confidence[other], accuracy[other])
        errors.append(np.abs(line.slope * confidence[own] + line.offset - accuracy[own]))
    return float(np.concatenate(errors).mean())
