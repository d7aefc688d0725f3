"""Curves of precision and fraction kept per class, and a threshold per class by an aim, from held-out fine labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.audit.risk import image_excess, p_values, promised, unit_means, units_needed
from autolabel.evaluation.numbers import number, ratio

_SAME_PRECISION = 0.005  # a precision that changes by less over all thresholds is no reason to choose one
_KEEPS_ALL = 0.995


class HeldOutCounts(NamedTuple):
    """Labelled pixels of N images by predicted class and bin; the unit of each image is what is drawn independently."""

    kept: NDArray[np.uint32]  # (N, K, B)
    right: NDArray[np.uint32]  # (N, K, B)
    pixels: NDArray[np.int64]  # (N,) labelled pixels
    units: Sequence[str]


class Aim(NamedTuple):
    """At most this error with this confidence; or at least this fraction kept; or every bin that is mostly right."""

    max_error: float | None = None
    confidence: float = 0.95
    keep: float | None = None
    mostly_right: NDArray[np.float64] | None = None  # (K, B) calibrated probability that a pixel is right


class ClassChoice(TypedDict):
    pixels: int  # held-out pixels predicted as the class
    kept: list[float | None]  # by threshold: fraction of them that is kept
    right: list[float | None]  # by threshold: fraction of the kept ones that is right
    threshold: float | None  # by the aim; None: none was chosen
    note: str  # for people


def choose(
    counts: HeldOutCounts, names: Sequence[str], thresholds: Sequence[float], aim: Aim
) -> dict[str, ClassChoice]:
    """A choice per class, each by itself; `thresholds` are 0 and the bin edges, ascending."""
    kept, right = (
        np.flip(np.flip(table, axis=2).cumsum(axis=2, dtype=np.float64), axis=2)
        for table in (counts.kept, counts.right)
    )  # (N, K, T): at threshold t all bins above it
    total = kept.sum(axis=0)
    fractions, precisions = ratio(total, total[:, :1]), ratio(right.sum(axis=0), total)
    choices = {}
    for k, name in enumerate(names):
        index, note = _choice(counts, kept[:, k], right[:, k], fractions[k], aim, k)
        no_matter = "the threshold does not matter here" if _is_flat(fractions[k], precisions[k]) else ""
        choices[name] = ClassChoice(
            pixels=int(total[k, 0]),
            kept=[number(value) for value in fractions[k].tolist()],
            right=[number(value) for value in precisions[k].tolist()],
            threshold=None if index is None else float(thresholds[index]),
            note="; ".join(part for part in (note, no_matter) if part),
        )
    return choices


def _choice(
    counts: HeldOutCounts,
    kept: NDArray[np.float64],
    right: NDArray[np.float64],
    fractions: NDArray[np.float64],
    aim: Aim,
    train_id: int,
) -> tuple[int | None, str]:
    """Index of the threshold for one class, and a note; kept and right pixels are (N, T), fractions kept (T,)."""
    if not kept.any():
        return None, "no held-out pixel is predicted as this class"
    if aim.keep is not None:
        return int(np.flatnonzero(fractions >= aim.keep).max()), ""
    if aim.mostly_right is not None:
        bins = np.flatnonzero(aim.mostly_right[train_id] > 0.5)
        return (int(bins[0]), "") if bins.size else (None, "no bin of it is more often right than wrong")
    if aim.max_error is None:
        return None, ""
    excess = unit_means(image_excess(kept - right, kept, counts.pixels.astype(np.float64), aim.max_error), counts.units)
    index = promised(p_values(excess, aim.max_error).tolist(), aim.confidence)
    seen = int(np.count_nonzero(unit_means(kept, counts.units)[:, 0]))
    return index, "" if index is not None else _no_promise(seen, aim)


def _no_promise(units: int, aim: Aim) -> str:
    assert aim.max_error is not None
    needed = units_needed(aim.max_error, aim.confidence)
    if units < needed:
        return f"cannot be promised with {units} of the {{units}} (it takes {needed} or more without errors)"
    return f"cannot be promised with {units} of the {{units}}: too many errors at every threshold"


def _is_flat(fractions: NDArray[np.float64], precisions: NDArray[np.float64]) -> bool:
    """Whether all thresholds keep nearly all pixels, or keep pixels that are equally right."""
    seen = precisions[~np.isnan(precisions)]
    return bool(seen.size and (fractions[-1] >= _KEEPS_ALL or np.ptp(seen) < _SAME_PRECISION))
