"""Codes: the winning class of a pixel and its probability, in one number.

    code = class * bins + bin,   bin = number of edges that the probability p exceeds,   bins = number of edges + 1

With 19 classes, one byte has room for 13 bins; larger codes are invalid, and the largest value means no prediction. If
one byte has room for fewer than 8 bins (from 32 classes on), a code takes two bytes. A table look-up gives the labels,
`labels = book.lut(0.5)[codes]`, so a new threshold needs no second inference.

With `second_below` a code also holds the second most probable class s if p does not exceed that edge:

    code = (class * bins + bin) * (K + 1) + s,   s = K if p exceeds it

p > t is decided as sum exp(l - max l) < 1/t over a pixel's logits l, in float32, ties to the lower class id. So every
device gives the same codes, except within rounding of a tie or an edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from autolabel.classes import IGNORE, id_of_name
from autolabel.errors import ConfigError, DataError, SettingError

RULE = "p > t iff sum(exp(l - max(l))) < 1/t, float32, ties to the lower class id"
DEFAULT_EDGES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
REQUIRED_EDGE = 0.5  # the threshold of the method; every codebook has this edge
_BY_IMPORTANCE = (0.5, 0.9, 0.7, 0.8, 0.95, 0.6, 0.4, 0.99, 0.85, 0.98, 0.3, 0.75)  # the first ones fit into few bins
_MIN_BINS = 8
_MAX_CLASSES = 255  # label maps are uint8 with 255 = ignore


def default_edges(num_classes: int) -> tuple[float, ...]:
    """The edges that fit one byte (12 up to 19 classes, 7 at 31), or all of them if a code takes two bytes."""
    room = 255 // num_classes - 1  # 255 itself is taken: no prediction
    if room < _MIN_BINS - 1:
        return DEFAULT_EDGES
    return tuple(sorted(_BY_IMPORTANCE[:room]))


@dataclass(frozen=True, init=False)
class Codebook:
    """How to read codes of `num_classes` classes.

    `edges` are the possible thresholds: increasing, from 0.001 to 0.999999, with 0.5 among them; None = the default
    set. `second_below`: one of the edges, or 0 = no second classes. ConfigError if they are invalid or codes do not fit
    two bytes.
    """

    num_classes: int
    edges: tuple[float, ...]
    second_below: float

    def __init__(self, num_classes: int, edges: Sequence[float] | None = None, *, second_below: float = 0.0) -> None:
        is_number = isinstance(num_classes, Integral) and not isinstance(num_classes, bool)
        if not is_number or not 1 <= num_classes <= _MAX_CLASSES:
            raise SettingError("classes", f"{num_classes!r} classes; label maps hold 1 to {_MAX_CLASSES}")
        chosen = default_edges(num_classes) if edges is None else _numbers(edges, "edges")
        (second_below,) = _numbers([second_below], "second_below")
        object.__setattr__(self, "num_classes", num_classes)
        object.__setattr__(self, "edges", chosen)
        object.__setattr__(self, "second_below", second_below)
        self._check()

    def _check(self) -> None:
        if REQUIRED_EDGE not in self.edges:
            raise SettingError("edges", f"{REQUIRED_EDGE} is missing", "it is always a bin edge")
        if not all(0.001 <= edge <= 0.999999 for edge in self.edges) or not (np.diff(self.limits) < 0).all():
            raise SettingError("edges", f"{_listed(self.edges)} do not increase from 0.001 to 0.999999 at most")
        if self.second_below:
            self._check_second()
        if self.num_codes > 65535:
            seconds = " and second classes" if self.second_below else ""
            what = f"{self.num_classes} classes with {self.bins} bins{seconds} exceed two bytes"
            raise SettingError("edges", what, "give fewer edges")

    def _check_second(self) -> None:
        if self.second_below not in self.edges:
            what = f"{self.second_below:g} is no bin edge; the edges are {_listed(self.edges)}"
            raise SettingError("second_below", what, "take one of them, or 0 for no second classes")
        if self.num_classes == 1:
            raise SettingError("second_below", "there is one class only, and no second")

    @property
    def bins(self) -> int:
        return len(self.edges) + 1

    @property
    def num_codes(self) -> int:
        """Valid codes are 0 ... num_codes - 1."""
        return self.num_classes * self.bins * self.seconds

    @property
    def seconds(self) -> int:
        """Number of codes per class and bin: K + 1 with second classes, else 1."""
        return self.num_classes + 1 if self.second_below else 1

    @property
    def bins_with_second(self) -> int:
        """Number of bins, from the lowest up, that have a second class."""
        return self.edges.index(self.second_below) + 1 if self.second_below else 0

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.num_codes <= 255 else np.uint16)

    @property
    def invalid(self) -> int:
        """The code of a pixel without a prediction: 255 or 65535."""
        return int(np.iinfo(self.dtype).max)

    @property
    def limits(self) -> np.ndarray:
        """(E,) float32 1/t of every edge t, decreasing: the limits of sum exp(l - max)."""
        return (1.0 / np.asarray(self.edges, dtype=np.float64)).astype(np.float32)

    def classes_and_bins(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split codes of any shape into uint8 train ids (255 where invalid) and uint16 bins (0 where invalid)."""
        valid = codes < self.num_codes
        classes, bins = np.divmod(codes.astype(np.uint16) // np.uint16(self.seconds), np.uint16(self.bins))
        return np.where(valid, classes, IGNORE).astype(np.uint8), np.where(valid, bins, 0).astype(np.uint16)

    def second_classes(self, codes: np.ndarray) -> np.ndarray:
        """uint8 train ids of the second most probable classes; 255 where there is none or the code is invalid."""
        second = codes.astype(np.uint16) % np.uint16(self.seconds)
        known = (codes < self.num_codes) & (second < self.num_classes) & (self.seconds > 1)
        return np.where(known, second, IGNORE).astype(np.uint8)

    def lut(self, threshold: float | Sequence[float]) -> np.ndarray:
        """The table (256,) or (65536,) uint8 from a code to its train id, 255 where p does not exceed the threshold.

        `threshold` is one number, or one per class. 0 keeps every prediction; any other must be an edge (ConfigError).
        """
        is_one = isinstance(threshold, int | float)
        thresholds = _numbers([threshold] * self.num_classes if is_one else threshold, "threshold")
        if len(thresholds) != self.num_classes:
            raise SettingError("threshold", f"{len(thresholds)} thresholds for {self.num_classes} classes")
        return self.lut_from_bins([self.lowest_bin(value) for value in thresholds])

    def lut_from_bins(self, lowest: Sequence[int]) -> np.ndarray:
        """As `lut`, from the lowest bin that each class keeps; the number of bins keeps none."""
        assert len(lowest) == self.num_classes, f"{len(lowest)} bins for {self.num_classes} classes"
        table = np.full(self.invalid + 1, IGNORE, dtype=np.uint8)
        for train_id, value in enumerate(lowest):
            first = train_id * self.bins + value
            table[first * self.seconds : (train_id + 1) * self.bins * self.seconds] = train_id
        return table

    def lowest_bin(self, threshold: float) -> int:
        """The first bin above a threshold, which is 0 or an edge. Raises SettingError for any other."""
        if threshold == 0:
            return 0
        if threshold not in self.edges:
            raise SettingError(
                "threshold",
                f"{threshold} is no bin edge; the edges are {_listed(self.edges)}",
                "take one of them, 0 to keep everything, or make codes with finer bins",
            )
        return self.edges.index(threshold) + 1

    def to_dict(self) -> dict[str, object]:
        second = {"second_below": self.second_below} if self.second_below else {}
        return {"num_classes": self.num_classes, "edges": list(self.edges), "rule": RULE, **second}

    @classmethod
    def from_dict(cls, value: object, where: object = "code book") -> Codebook:
        """The inverse of `to_dict`; DataError if a field is missing, unknown or of another type."""
        if not isinstance(value, dict) or value.keys() - {"second_below"} != {"num_classes", "edges", "rule"}:
            raise DataError(where, "not a code book: num_classes, edges and rule are its fields")
        num_classes, edges, rule = value["num_classes"], value["edges"], value["rule"]
        if rule != RULE:
            raise DataError(where, f"codes were made by another rule: {rule!r}", "infer again with this version")
        if type(num_classes) is not int or not isinstance(edges, list) or any(type(e) is not float for e in edges):
            raise DataError(where, "num_classes must be a whole number and edges a list of numbers")
        second_below = value.get("second_below", 0.0)
        if type(second_below) is not float:
            raise DataError(where, "second_below must be a number")
        try:
            return cls(num_classes, edges, second_below=second_below)
        except ConfigError as error:
            raise DataError(where, error.what) from None


def _numbers(values: object, name: str) -> tuple[float, ...]:
    """The values as numbers. Raises SettingError."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise SettingError(name, f"is of type {type(values).__name__}", "give numbers")
    found = tuple(values)
    for value in found:
        if not isinstance(value, Real) or isinstance(value, bool):
            raise SettingError(name, f"{value!r} is no number", "give numbers")
    return tuple(map(float, found))


def thresholds_per_class(
    names: Sequence[str], threshold: float, class_thresholds: Mapping[str, float]
) -> tuple[float, ...]:
    """One threshold per class: its entry in `class_thresholds`, else `threshold`. ConfigError for an unknown name."""
    for name in class_thresholds:
        id_of_name(name, names, where="class_thresholds")
    return tuple(float(class_thresholds.get(name, threshold)) for name in names)


def _listed(edges: Sequence[float]) -> str:
    return ", ".join(f"{edge:g}" for edge in edges)
