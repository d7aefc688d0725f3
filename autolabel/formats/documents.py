"""Reading of JSON that anyone may have written: every access that fails is one line with the place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import DataError, LabelError
from autolabel.user_files import read_user_file

MAX_BYTES = 2_000_000_000
_T = TypeVar("_T")


def read_json(file: Path) -> Any:
    """The document in a file of UTF-8 JSON. Raises DataError."""
    data = read_user_file(file, DataError, "give the file that the tool exported", at_most=MAX_BYTES)
    return parse_json(data, file)


def parse_json(data: bytes, where: object) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(where, f"is not UTF-8 text (byte {error.start})", "export it again") from error
    except json.JSONDecodeError as error:
        what = f"is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise DataError(where, what, "is it cut short? export it again") from error
    except (ValueError, RecursionError) as error:
        raise DataError(where, f"is not valid JSON: {error}", "export it again") from error


def field(table: object, key: str, kind: type[_T], where: object) -> _T:
    """The value of a key. Raises LabelError if it is missing or of another type."""
    if not isinstance(table, dict) or key not in table:
        raise LabelError(where, f"has no {key!r}", "export it again")
    return typed(table[key], kind, f"{where}: {key}")


def typed(value: object, kind: type[_T], where: object) -> _T:
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise LabelError(where, f"is {short(value)}, not of type {kind.__name__}", "export it again")


def whole(value: object, where: object) -> int:
    """A whole number, also as 640.0 or "640". Raises LabelError."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number != int(number) or abs(number) > 2**53:
        raise LabelError(where, f"{short(value)} is no whole number", "export it again")
    return int(number)


def points(values: object, where: object) -> NDArray[np.float64]:
    """(N, 2) finite coordinates, from pairs or a flat list of x and y. Raises LabelError."""
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        table = np.array([math.nan])
    if table.ndim == 1 and table.size % 2 == 0:
        table = table.reshape(-1, 2)
    if table.ndim != 2 or (len(table) and table.shape[1] != 2) or not np.isfinite(table).all():
        raise LabelError(where, "the points are no list of numbers x and y", "correct or delete the annotation")
    return table


def short(value: object, length: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def unique(pairs: Iterable[tuple[Any, _T]], where: object, what: str) -> dict[Any, _T]:
    """A dict of the pairs. Raises LabelError if a key occurs twice."""
    table: dict[Any, _T] = {}
    for key, value in pairs:
        if key in table:
            raise LabelError(where, f"{what} {short(key)} occurs twice", "remove one of them")
        table[key] = value
    return table
