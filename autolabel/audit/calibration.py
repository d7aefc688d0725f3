"""How far the network's own number is from the fraction that is right, and what calibration makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from autolabel.evaluation.numbers import fraction
from autolabel.labels.calibration import CellCounts, bin_middles, calibrate, calibration_error


class ReliabilityBin(TypedDict):
    stated: float  # the network's own number: the middle of the bin
    pixels: int
    precision: float | None  # fraction of them that is right
    calibrated: float | None  # mean calibrated probability of them


class CalibrationResult(TypedDict):
    images: int
    pixels: int
    ece: float  # expected calibration error of the network's own number
    # The same of calibrated probabilities, each half of the images by an estimate from the other; None for one image.
    ece_calibrated: float | None
    bins: list[ReliabilityBin]  # ascending
    classes: dict[str, list[float]]  # by class: calibrated probability of each bin, from all images


def calibration_result(halves: tuple[CellCounts, CellCounts], names: Sequence[str]) -> CalibrationResult:
    """The figures of two halves of the held-out images; neighbouring frames should lie in the same half."""
    cells = halves[0].merged(halves[1])
    stated = bin_middles(cells.book)
    probabilities = calibrate(cells)
    pixels, right = cells.pixels.sum(axis=0), cells.right.sum(axis=0)
    mean = (cells.pixels * probabilities).sum(axis=0)
    return CalibrationResult(
        images=cells.images,
        pixels=int(pixels.sum()),
        ece=calibration_error(cells, np.broadcast_to(stated, cells.pixels.shape)),
        ece_calibrated=_across(*halves),
        bins=[
            ReliabilityBin(
                stated=float(stated[b]),
                pixels=int(pixels[b]),
                precision=fraction(right[b], pixels[b]),
                calibrated=fraction(mean[b], pixels[b]),
            )
            for b in range(cells.book.bins)
        ],
        classes=dict(zip(names, probabilities.tolist(), strict=True)),
    )


def _across(one: CellCounts, other: CellCounts) -> float | None:
    """Each half by the estimate from the other: an estimate flatters the images it was made from."""
    if not (one.pixels.any() and other.pixels.any()):
        return None
    errors = [calibration_error(one, calibrate(other)), calibration_error(other, calibrate(one))]
    sizes = [one.pixels.sum(), other.pixels.sum()]
    return float(np.average(errors, weights=sizes))
