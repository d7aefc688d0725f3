"""A small SVG writer: elements with escaped text, and scales. Colours come from the style sheet of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from autolabel.report.text import clean

Scale = Callable[[float], float]


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """One element. Strings among `children` are escaped unless they are markup; `class_` becomes class."""
    encoded = [f' {_attribute(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None]
    inner = Markup("").join(child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    return Markup(f"<{name}{''.join(encoded)}>{inner}</{name}>")


def chart(width: float, height: float, *children: Markup, title: str, **attributes: object) -> Markup:
    """The root element; screen readers read `title`. `width` is the smallest at which text is readable."""
    return tag(
        "svg",
        tag("title", title),
        *children,
        **{"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "class_": "chart", **attributes},
        style=f"--w:{width:g}px",
    )


def text(x: float, y: float, content: str, **attributes: object) -> Markup:
    return tag("text", content, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def rect(x: float, y: float, width: float, height: float, **attributes: object) -> Markup:
    return tag("rect", x=x, y=y, width=max(width, 0), height=height, **attributes)


def swatch(x: float, y: float, colour: Sequence[int]) -> Markup:
    """The small square in the colour of a class."""
    return rect(x, y, 11, 11, rx=2.5, fill=css_colour(colour), class_="swatch")


def css_colour(colour: Sequence[int]) -> str:
    red, green, blue = (int(channel) for channel in colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def mark(shape: int, x: float, y: float, **attributes: object) -> Markup:
    """One data point; shape and colour identify the series: disc, ring, diamond, square."""
    points = " ".join(f"{x + dx:.2f},{y + dy:.2f}" for dx, dy in ((0, -5.6), (5.6, 0), (0, 5.6), (-5.6, 0)))
    shapes = (
        lambda: tag("circle", cx=x, cy=y, r=4.6, **attributes),
        lambda: tag("circle", cx=x, cy=y, r=4.1, **{**attributes, "class_": f"{attributes.get('class_', '')} ring"}),
        lambda: tag("polygon", points=points, **attributes),
        lambda: rect(x - 4, y - 4, 8, 8, **attributes),
    )
    return shapes[shape % len(shapes)]()


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Maps low..high to start..end, clipped."""
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * min(max((value - low) / span, 0.0), 1.0)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Maps low..high (positive) to start..end on a logarithmic scale, clipped."""
    scale = linear(math.log10(low), math.log10(high), start, end)
    return lambda value: scale(math.log10(max(value, low)))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them: steps of 1, 2, 2.5 or 5 times a power of ten."""
    raw = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * number for number in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from low to high."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> Markup:
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(clean(str(value)))
