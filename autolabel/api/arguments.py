"""Arguments of the public functions, checked for their types: a wrong one is an error of ours, in one line."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from autolabel.errors import ConfigError


def as_path(value: object, name: str, remedy: str) -> Path:
    """The argument `name` as a path. Raises ConfigError."""
    if isinstance(value, str | os.PathLike) and isinstance(text := os.fspath(value), str):
        if not text or "\0" in text:
            raise ConfigError(name, "holds a zero byte" if text else "is empty", remedy)
        return Path(text)
    raise ConfigError(name, f"is of type {type(value).__name__}", remedy)


def as_number(value: object, name: str) -> float:
    """The argument `name` as a number. Raises ConfigError."""
    if isinstance(value, Real) and not isinstance(value, bool):  # numpy's numbers are Real, its bool is not
        number = float(value)
        if not math.isfinite(number):
            raise ConfigError(name, f"{number} is no number to compare with", "give a finite number")
        return number
    raise ConfigError(name, f"is of type {type(value).__name__}", "give a number")


def as_index(value: object, name: str) -> int:
    """The index of an item: a whole number, also one of numpy. Raises ConfigError."""
    try:
        return operator.index(value)  # type: ignore[arg-type]  # that is what it checks
    except TypeError as error:
        what = f"an index of type {type(value).__name__}"
        raise ConfigError(name, what, "give the number of an image; images.index(ID) finds it") from error


def as_thresholds(threshold: object, class_thresholds: object) -> tuple[float, dict[str, float]]:
    """The threshold, and those of single classes by name. Raises ConfigError."""
    by_class = {} if class_thresholds is None else dict(items(class_thresholds, "class_thresholds"))
    checked = {key: as_number(value, f"class_thresholds: {key}") for key, value in by_class.items()}
    return as_number(threshold, "threshold"), checked


def items(value: object, name: str) -> Iterator[tuple[str, Any]]:
    """The pairs of the mapping `name`, whose keys are text. Raises ConfigError."""
    if not isinstance(value, Mapping):
        raise ConfigError(name, f"is of type {type(value).__name__}", "give a dict")
    for key, item in value.items():
        if not isinstance(key, str):
            raise ConfigError(f"{name}: {key!r}", f"is a key of type {type(key).__name__}", "give text")
        yield key, item
