"""Fractions as numbers that JSON can hold: "not defined" is NaN in arrays and None in results."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """part / whole in float64, element by element; NaN where whole is 0."""
    numerator, denominator = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    nothing = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    quotient: NDArray[np.float64] = np.divide(numerator, denominator, out=nothing, where=denominator != 0)
    return quotient


def fraction(part: float | np.integer, whole: float | np.integer) -> float | None:
    """part / whole as a plain float; None where whole is 0."""
    return number(float(ratio(part, whole)))


def number(value: float) -> float | None:
    """A plain float, or None for NaN."""
    return None if math.isnan(value) else float(value)


def by_name(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, float | None]:
    """The values (K,) by class name."""
    return {name: number(value) for name, value in zip(names, values.tolist(), strict=True)}
