"""Formats numbers and names for the report."""

from __future__ import annotations

from collections.abc import Sequence

from autolabel.errors import printable
from autolabel.evaluation.intervals import TOO_FEW

NOTHING = "–"  # a figure that is not defined


def clean(name: str) -> str:
    """A foreign name, safe to print: control characters, direction marks and lone surrogates are spelled out."""
    return printable(name)


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction as "63.2 %"; below one percent with two significant digits: "0.54 %", "0.0042 %"."""
    if value is None:
        return NOTHING
    hundredfold = 100 * value
    if 0 < hundredfold < 0.001:
        return "< 0.001 %"
    return f"{hundredfold:.2g} %" if 0 < hundredfold < 0.995 else f"{hundredfold:.{decimals}f} %"


def points(value: float | None, decimals: int = 1) -> str:
    """IoU as papers print it: times 100, without a unit."""
    return NOTHING if value is None else f"{100 * value:.{decimals}f}"


def gain(value: float | None, base: float | None, decimals: int = 1) -> str:
    """A difference of two IoUs with its sign."""
    if value is None or base is None:
        return NOTHING
    rounded = round(100 * (value - base), decimals)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else '±'}{abs(rounded):.{decimals}f}"


def between(interval: Sequence[float] | None, decimals: int = 1) -> str:
    """A 95 % interval of a fraction, times 100: "41.2 to 45.0"; empty where there is none."""
    return "" if interval is None else " to ".join(f"{100 * end:.{decimals}f}" for end in interval)


def ends(value: float | None, interval: Sequence[float] | None) -> str:
    """The interval of a figure for people: "95 %: 41.2 to 45.0", or why there is none; empty without the figure."""
    if value is None:
        return ""
    return TOO_FEW if interval is None else f"95 %: {between(interval)}"


def times(value: float | None) -> str:
    """A factor: "5,300 ×"."""
    if value is None:
        return NOTHING
    return f"{value:,.0f} ×" if value >= 10 else f"{value:.1f} ×"
