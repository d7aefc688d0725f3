"""The report's charts: plain SVG, readable in light and dark, coloured by the page's style sheet (classes s0, s1, ...).

A class is always a swatch of its palette colour; a series is a colour and, for points, a shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from autolabel.report.svg import chart, decades, line, linear, logarithmic, mark, rect, swatch, tag, text, ticks
from autolabel.report.text import percent

_WIDTH = 540.0  # about the width of a column of the page, so that text keeps its size
_NAMES = 130.0  # left column: swatch and name
_FEW_POINTS = 30  # a curve with fewer points shows each
_MAX_TICKS = 7  # more size labels do not fit side by side
_BASELINE = 4.0  # from the middle of a text line to its baseline


class ClassRow(NamedTuple):
    """One class and its value in every series; None: not defined."""

    name: str
    colour: Sequence[int]
    values: Sequence[float | None]


class Bar(NamedTuple):
    name: str
    value: float
    text: str
    measured: bool


class Curve(NamedTuple):
    """Points (x, y) in ascending x; points without y are left out."""

    name: str
    points: Sequence[tuple[float, float | None]]


def series(index: int) -> str:
    """Style class of a series; there are six."""
    return f"s{index % 6}"


def series_key(index: int) -> Markup:
    """The mark of a series, for a legend."""
    return tag("svg", mark(index, 7, 7, class_=series(index)), viewBox="0 0 14 14", class_="key")


def bar_key(index: int) -> Markup:
    """The bar of a series, for a legend."""
    return tag("svg", rect(1, 3, 12, 8, rx=2, class_=series(index)), viewBox="0 0 14 14", class_="key")


def balance_chart(rows: Sequence[ClassRow], *, title: str) -> Markup:
    """Fractions (0..1) per class and series as dots on a logarithmic scale; zero is left of the scale."""
    pitch, top = 28.5, 26.0
    bottom = top + pitch * len(rows)
    low = _floor_decade(v for row in rows for v in row.values)
    x = logarithmic(low, 1.0, _NAMES + 46, _WIDTH - 20)
    zero = _NAMES + 14
    parts = _columns({x(t): percent(t, 0) for t in decades(low, 1.0)} | {zero: "0"}, top, bottom)
    for index, row in enumerate(rows):
        y = top + pitch * (index + 0.5)
        at = [None if v is None else x(v) if v else zero for v in row.values]
        defined = [a for a in at if a is not None]
        parts += _class_name(row, y)
        parts += [line(min(defined), y, max(defined), y, class_="range")] if defined else []
        parts += [mark(s, a, y, class_=series(s)) for s, a in enumerate(at) if a is not None]
    return chart(_WIDTH, bottom + 6, *parts, title=title)


def iou_chart(rows: Sequence[ClassRow], *, title: str) -> Markup:
    """IoU (0..1) per class as grouped bars, one bar per series."""
    count = max(len(row.values) for row in rows)
    thick = 12.0 if count == 1 else 7.5
    pitch, top = thick * count + 10, 26.0
    bottom = top + pitch * len(rows)
    x = linear(0.0, 1.0, _NAMES + 8, _WIDTH - 16)
    parts = _columns({x(t): f"{100 * t:.0f}" for t in (0.0, 0.25, 0.5, 0.75, 1.0)}, top, bottom)
    for index, row in enumerate(rows):
        first = top + pitch * index + 5
        parts += _class_name(row, first + thick * count / 2)
        for s, value in enumerate(row.values):
            y = first + thick * s
            if value is not None:
                parts.append(rect(x(0), y, x(value) - x(0), thick - 1, rx=1.5, class_=series(s)))
    return chart(_WIDTH, bottom + 6, *parts, title=title)


def size_chart(bars: Sequence[Bar], *, title: str) -> Markup:
    """Sizes in bytes on a logarithmic scale; measured sizes stand out from calculated ones."""
    pitch, top, names = 32.0, 26.0, 116.0
    bottom = top + pitch * len(bars)
    low = 10.0 ** max(0, len(str(int(min(bar.value for bar in bars)))) - 2)  # a decade below the smallest
    high = max(low * 10, *(bar.value for bar in bars))
    x = logarithmic(low, high, names + 10, _WIDTH - 122)
    powers = decades(low, high)
    labelled = powers if len(powers) <= _MAX_TICKS else [t for t in powers if _power(t) % 3 == 0]
    parts = _columns({x(t): _size_tick(t) for t in labelled}, top, bottom)
    for index, bar in enumerate(bars):
        y = top + pitch * (index + 0.5)
        end = x(bar.value)
        kind = "s0" if bar.measured else "calculated"
        parts.append(text(names, y + _BASELINE, bar.name, class_="name", text_anchor="end"))
        parts.append(rect(x(low), y - 8, end - x(low), 16, rx=2, class_=kind))
        parts.append(text(end + 7, y + _BASELINE, bar.text, class_="strong" if bar.measured else "name"))
    return chart(_WIDTH, bottom + 6, *parts, title=title)


def curve_chart(curves: Sequence[Curve], *, marked: float | None, x_name: str, title: str) -> Markup:
    """Fractions (0..1) over a threshold (0..1); `marked` is the threshold in use."""
    width, height, left, top = _WIDTH, 330.0, 46.0, 12.0
    right, bottom = width - 50, height - 44
    values = [y for curve in curves for _, y in curve.points if y is not None]
    low = max(0.0, int(10 * min(values, default=0.0)) / 10)
    x, y = linear(0.0, 1.0, left, right), linear(low, 1.0, bottom, top)
    parts = [line(left, y(t), right, y(t), class_="grid") for t in ticks(low, 1.0)]
    parts += [
        text(left - 7, y(t) + _BASELINE, _hundredfold(t, " %"), class_="tick", text_anchor="end")
        for t in ticks(low, 1.0)
    ]
    parts += [text(x(t), bottom + 18, f"{t:g}", class_="tick", text_anchor="middle") for t in (0, 0.25, 0.5, 0.75, 1)]
    parts += [text((left + right) / 2, bottom + 37, x_name, class_="tick", text_anchor="middle")]
    if marked is not None:
        parts.append(line(x(marked), top, x(marked), bottom, class_="marked"))
        parts.append(text(x(marked) + 5, bottom - 7, f"in use: {marked:g}", class_="value"))
    ends = []
    for s, curve in enumerate(curves):
        drawn = [(x(px), y(py)) for px, py in curve.points if py is not None]
        parts.append(_path(drawn, series(s)))
        parts += [tag("circle", cx=px, cy=py, r=2.6, class_=series(s)) for px, py in drawn]
        ends += [(drawn[-1][1], s, curve.name)] if drawn else []
    parts += [text(right + 9, at + _BASELINE, name, class_=f"strong {series(s)}") for at, s, name in _apart(ends)]
    return chart(width, height, *parts, title=title)


def small_curves(curves: Sequence[Curve], *, marked: float | None, title: str, x_end: float = 1.0) -> Markup:
    """A small chart for one class among many: fractions (0..1) over 0..`x_end`."""
    width, height, left, bottom = 180.0, 104.0, 26.0, 86.0
    x, y = linear(0.0, x_end, left, width - 6), linear(0.0, 1.0, bottom, 6)
    parts = [line(left, y(t), width - 6, y(t), class_="grid") for t in (0.0, 0.5, 1.0)]
    parts += [text(left - 5, y(t) + 3, _hundredfold(t), class_="tiny", text_anchor="end") for t in (0.0, 0.5, 1.0)]
    ends = {0.0: "start", x_end / 2: "middle", x_end: "end"}
    parts += [text(x(t), height - 4, f"{t:g}", class_="tiny", text_anchor=anchor) for t, anchor in ends.items()]
    if marked is not None:
        parts.append(line(x(marked), 6, x(marked), bottom, class_="marked"))
    for s, curve in enumerate(curves):
        drawn = [(x(px), y(py)) for px, py in curve.points if py is not None]
        parts.append(_path(drawn, series(s)))
        parts += [tag("circle", cx=px, cy=py, r=1.8, class_=series(s)) for px, py in drawn if len(drawn) < _FEW_POINTS]
    return chart(width, height, *parts, title=title)


def step_chart(curves: Sequence[Curve], *, last_step: int, title: str, percent: bool = False) -> Markup:
    """Values over the steps of a training; with `percent` they are fractions, times 100."""
    width, height, left, top = 360.0, 220.0, 52.0, 10.0
    right, bottom = width - 14, height - 40
    values = [value for curve in curves for _, value in curve.points if value is not None]
    low = min(0.0, *values) if values else 0.0
    high = 1.0 if percent else max(values, default=1.0)
    high = high if high > low else low + 1.0
    x, y = linear(0, last_step, left, right), linear(low, high, bottom, top)
    parts = [line(left, y(t), right, y(t), class_="grid") for t in ticks(low, high)]
    words = {t: _hundredfold(t) if percent else _number(t) for t in ticks(low, high)}
    parts += [text(left - 7, y(t) + _BASELINE, word, class_="tick", text_anchor="end") for t, word in words.items()]
    parts += [
        text(x(t), bottom + 17, f"{t:,.0f}", class_="tick", text_anchor="middle")
        for t in ticks(0, last_step, 4)
        if t == round(t)
    ]
    parts.append(text((left + right) / 2, height - 5, "step", class_="tick", text_anchor="middle"))
    for s, curve in enumerate(curves):
        drawn = [(x(px), y(py)) for px, py in curve.points if py is not None]
        parts.append(_path(drawn, series(s)))
        parts += [tag("circle", cx=px, cy=py, r=2.6, class_=series(s)) for px, py in drawn if len(drawn) < _FEW_POINTS]
    return chart(width, height, *parts, title=title)


def stack_chart(fractions: Sequence[float], *, title: str) -> Markup:
    """Fractions of a whole (0..1) as one stacked bar."""
    x = linear(0.0, 1.0, 0.0, _WIDTH)
    starts = [sum(fractions[:k]) for k in range(len(fractions))]
    parts = [
        rect(x(start), 0, max(x(start + fraction) - x(start) - 1.5, 0.75), 26, rx=2, class_=series(s))
        for s, (start, fraction) in enumerate(zip(starts, fractions, strict=True))
    ]
    return chart(_WIDTH, 26, *parts, title=title, class_="chart stack", preserveAspectRatio="none")


def _columns(ticks: Mapping[float, str], top: float, bottom: float) -> list[Markup]:
    """Vertical grid lines at x, with text above."""
    words = [text(x, 14, word, class_="tick", text_anchor="middle") for x, word in ticks.items()]
    return words + [line(x, top - 4, x, bottom, class_="grid") for x in ticks]


def _class_name(row: ClassRow, y: float) -> list[Markup]:
    return [swatch(0, y - 5.5, row.colour), text(19, y + _BASELINE, _short(row.name, 18), class_="name")]


def _hundredfold(value: float, unit: str = "") -> str:
    return f"{round(100 * value, 1):g}{unit}"


def _number(value: float) -> str:
    """A tick without the digits of rounding: 0.0003, 0.25, 12, -1.5."""
    return f"{value:.4g}" if value else "0"


def _short(name: str, limit: int) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _path(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    steps = " ".join(f"{'L' if k else 'M'}{x:.2f} {y:.2f}" for k, (x, y) in enumerate(points))
    return tag("path", d=steps, class_=f"curve {kind}")


def _apart(ends: Iterable[tuple[float, int, str]], gap: float = 15.0) -> list[tuple[float, int, str]]:
    """Labels at the ends of curves, moved down until none overlaps."""
    placed: list[tuple[float, int, str]] = []
    for at, s, name in sorted(ends):
        placed.append((max(at, placed[-1][0] + gap) if placed else at, s, name))
    return placed


def _floor_decade(values: Iterable[float | None]) -> float:
    """The power of ten at or below the smallest positive fraction, between 1e-6 and 1e-2."""
    smallest = min((v for v in values if v), default=0.01)
    return next((d for d in (1e-2, 1e-3, 1e-4, 1e-5) if d <= smallest), 1e-6)


def _size_tick(value: float) -> str:
    return f"{10 ** (_power(value) % 3)} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[_power(value) // 3]}"


def _power(value: float) -> int:
    """Exponent of a power of ten from 1 up."""
    return len(str(int(value))) - 1
