"""Rules beyond a threshold: what a coarse label means class by class, borders, small regions, the camera's own vehicle.

A coarse class may stand for a set of classes: a polygon "vehicle" allows car, truck and bus. For a pixel inside a
polygon of coarse class c, and the set of c:

    off     the polygon counts for nothing
    veto    the teacher's class if it lies in the set, otherwise ignore
    fill    the class of the set if it is one; otherwise the teacher's class, at any probability, if it lies in the set
    agree   as veto; and where no polygon allows it, a pixel of class c is ignored
    trust   the teacher's class at any probability if it lies in the set, otherwise ignore

All of that is one look-up by coarse class, teacher's class, and whether the threshold is exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import IGNORE
from autolabel.errors import LabelError
from autolabel.labels.components import small_regions

# Outcomes of a pixel; those from "confirmed" on come from these rules alone.
OUTCOMES = (
    "kept",
    "filled",
    "low_confidence",
    "veto",
    "no_prediction",
    "confirmed",
    "unconfirmed",
    "border",
    "small",
    "ego",
)
LABELLED = ("kept", "filled", "confirmed")  # outcomes of pixels that carry a class
POLICY_NAMES = ("off", "veto", "fill", "agree", "trust")
_CODE = {name: number for number, name in enumerate(OUTCOMES)}
LabelMap = NDArray[np.uint8]


class LabelRules(NamedTuple):
    """`labels` and `outcomes` are tables (K + 1, K + 1, 2): coarse class, teacher's class, whether above the threshold.

    The number of classes K stands for no polygon, and for no prediction.
    """

    labels: LabelMap
    outcomes: LabelMap
    border: int = 0  # pixels along the border of coarse polygons, inside, that are ignored
    least: NDArray[np.int64] | None = None  # (256,) pixels of the smallest region that is kept, by class
    ego: NDArray[np.bool_] | None = None  # (H, W) pixels of the camera's own vehicle
    off: tuple[int, ...] = ()  # coarse classes whose polygons count for nothing: they have no border


def coarse_tables(policies: Sequence[str], sets: Sequence[frozenset[int]]) -> tuple[LabelMap, LabelMap]:
    """The tables of `LabelRules`, from the policy of each class and the classes that it may stand for."""
    size = len(policies) + 1
    labels, outcomes = np.full((2, size, size, 2), IGNORE, np.uint8)
    for coarse, teacher, sure in np.ndindex(size, size, 2):
        label, outcome = _decided(policies, sets, coarse, teacher, bool(sure))
        labels[coarse, teacher, sure], outcomes[coarse, teacher, sure] = label, _CODE[outcome]
    return labels, outcomes


def _decided(
    policies: Sequence[str], sets: Sequence[frozenset[int]], coarse: int, teacher: int, sure: bool
) -> tuple[int, str]:
    """Label and outcome of one case; the number of classes stands for no polygon, and for no prediction."""
    none = len(policies)
    policy = "off" if coarse == none else policies[coarse]
    inside = policy != "off" and teacher in sets[coarse]
    if policy == "fill" and len(sets[coarse]) == 1:
        return next(iter(sets[coarse])), "filled"
    if teacher == none:
        return IGNORE, "no_prediction"
    if inside and not sure and policy in ("trust", "fill"):
        return teacher, "confirmed"
    if not sure:
        return IGNORE, "low_confidence"
    if policy == "off":
        return (IGNORE, "unconfirmed") if policies[teacher] == "agree" else (teacher, "kept")
    return (teacher, "kept") if inside else (IGNORE, "veto")


def apply_rules(
    winner: LabelMap, sure: LabelMap, coarse: LabelMap | None, rules: LabelRules
) -> tuple[LabelMap, LabelMap]:
    """Labels and outcomes (H, W), from the teacher's class at any probability and above the threshold (255 = none).

    Raises LabelError for a coarse label or a mask of another size.
    """
    none = len(rules.labels) - 1
    for name, other in (("coarse label", coarse), ("ego mask", rules.ego)):
        if other is not None and other.shape != winner.shape:
            raise LabelError(name, f"is {other.shape}, its image {winner.shape} (height, width)")
    drawn = np.full_like(winner, none) if coarse is None else np.minimum(coarse, none)
    case = drawn.astype(np.int64), np.minimum(winner, none), (sure != IGNORE).astype(np.int64)
    labels, outcomes = rules.labels[case], rules.outcomes[case]
    if rules.border and coarse is not None:
        used = np.where(np.isin(coarse, rules.off), np.uint8(IGNORE), coarse)
        _ignore(labels, outcomes, border_of(used, rules.border), "border")
    if rules.ego is not None:
        _ignore(labels, outcomes, rules.ego, "ego")
    if rules.least is not None:
        _ignore(labels, outcomes, small_regions(labels, rules.least), "small")
    return labels, outcomes


def _ignore(labels: LabelMap, outcomes: LabelMap, mask: NDArray[np.bool_], outcome: str) -> None:
    """Ignore labelled pixels, in place; those that are ignored already keep their reason."""
    chosen = mask & (labels != IGNORE)
    labels[chosen], outcomes[chosen] = IGNORE, _CODE[outcome]


def border_of(coarse: LabelMap, width: int) -> NDArray[np.bool_]:
    """(H, W) bool: pixels of polygons with another value at most `width` rows and columns away."""
    lowest = highest = coarse
    for axis in (0, 1):
        lowest, highest = _spread(lowest, width, axis, np.minimum), _spread(highest, width, axis, np.maximum)
    border: NDArray[np.bool_] = (lowest != highest) & (coarse != IGNORE)
    return border


def _spread(values: LabelMap, width: int, axis: int, extreme: np.ufunc) -> LabelMap:
    """The extreme over a window of 2 * width + 1 along an axis; values of the image's edge go on."""
    pad = [(width, width) if a == axis else (0, 0) for a in (0, 1)]
    padded = np.pad(values, pad, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1, axis=axis)
    found: LabelMap = extreme.reduce(windows, axis=-1)
    return found


def count_outcomes(outcomes: LabelMap) -> dict[str, int]:
    """Pixels by outcome; outcomes of these rules that no pixel has are left out."""
    counts = np.bincount(outcomes.ravel(), minlength=len(OUTCOMES)).tolist()
    return {name: n for name, n in zip(OUTCOMES, counts, strict=True) if n or name in OUTCOMES[:5]}
