"""Size of the labels on disk, compared with other ways to keep them.

Measured bytes come from files. All other sizes are computed and carry their formula as text. "Soft" alternatives keep K
numbers per pixel. Units are decimal (1 kB = 1000 bytes).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TypedDict

from autolabel.evaluation.numbers import fraction

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def decimal_bytes(size: float) -> str:
    """Format a size with three significant digits: 15.6 kB, 334 MB, 3.19 TB; whole bytes below 1 kB."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:  # 999.5 would be printed as 1000
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return f"{value:.0f} B"
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {_UNITS[unit]}"


_REFERENCE_IMAGES = 20_000  # the coarse part of Cityscapes, rounded as in the literature
_REFERENCE_SIZE = (2048, 1024)  # width, height of a Cityscapes image


class Group(TypedDict):
    group: str
    labels: int
    bytes: int
    pixels: int
    bytes_per_label: float | None
    bits_per_pixel: float | None


class Alternative(TypedDict):
    name: str
    formula: str
    bytes: int
    times: float | None  # the size as a multiple of the measured or extrapolated label bytes


class Extrapolation(TypedDict):
    name: str
    images: int
    pixels_per_image: float
    labels_bytes: int  # at this set's bits per pixel: an upper estimate for larger images
    labels_bytes_outline: int  # growing with the side of an image, as outlines do: a lower estimate
    codes_bytes: int | None
    alternatives: list[Alternative]


class FootprintResult(TypedDict):
    num_classes: int
    labels: int
    bytes: int
    pixels: int
    bytes_per_label: float | None
    bits_per_pixel: float | None
    codes_bytes: int | None
    codes_bits_per_pixel: float | None
    groups: list[Group]  # sorted by name
    alternatives: list[Alternative]  # for this set
    extrapolations: list[Extrapolation]  # 20,000 images of this size, and of 2048 x 1024
    note: str


@dataclass
class _Sum:
    labels: int = 0
    bytes: int = 0
    pixels: int = 0


class Footprint:
    """Adds up label files; call `add` once per file."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._groups: dict[str, _Sum] = defaultdict(_Sum)

    def add(self, group: str, *, num_bytes: int, width: int, height: int) -> None:
        """Count one label file of `num_bytes` in `group` (a city, a sequence, a folder)."""
        total = self._groups[group]
        total.labels += 1
        total.bytes += num_bytes
        total.pixels += width * height

    def result(self, *, codes_bytes: int | None = None) -> FootprintResult:
        """Gather the figures; `codes_bytes` is the measured size of the teacher's codes for the same images."""
        total = _Sum()
        for group in self._groups.values():
            total.labels += group.labels
            total.bytes += group.bytes
            total.pixels += group.pixels
        return FootprintResult(
            num_classes=self._num_classes,
            labels=total.labels,
            bytes=total.bytes,
            pixels=total.pixels,
            bytes_per_label=fraction(total.bytes, total.labels),
            bits_per_pixel=fraction(8 * total.bytes, total.pixels),
            codes_bytes=codes_bytes,
            codes_bits_per_pixel=None if codes_bytes is None else fraction(8 * codes_bytes, total.pixels),
            groups=[_group(name, group) for name, group in sorted(self._groups.items())],
            alternatives=_alternatives(
                f"{total.pixels:,}", total.pixels, classes=self._num_classes, beside=total.bytes
            ),
            extrapolations=self._extrapolations(total, codes_bytes) if total.pixels else [],
            note=_two_terabytes(),
        )

    def _extrapolations(self, total: _Sum, codes_bytes: int | None) -> list[Extrapolation]:
        width, height = _REFERENCE_SIZE
        sizes = {"this set's mean image size": total.pixels / total.labels, f"{width} × {height}": width * height}
        return [
            _extrapolate(name, pixels, total=total, codes_bytes=codes_bytes, classes=self._num_classes)
            for name, pixels in sizes.items()
        ]


def _extrapolate(
    name: str, pixels_per_image: float, *, total: _Sum, codes_bytes: int | None, classes: int
) -> Extrapolation:
    many = _REFERENCE_IMAGES / total.labels
    growth = pixels_per_image * total.labels / total.pixels
    labels_bytes = round(many * total.bytes * growth)
    pixels = round(_REFERENCE_IMAGES * pixels_per_image)
    text = f"{_REFERENCE_IMAGES:,} × {pixels_per_image:,.0f}"
    return Extrapolation(
        name=name,
        images=_REFERENCE_IMAGES,
        pixels_per_image=float(pixels_per_image),
        labels_bytes=labels_bytes,
        labels_bytes_outline=round(many * total.bytes * growth**0.5),
        codes_bytes=None if codes_bytes is None else round(many * codes_bytes * growth),
        alternatives=_alternatives(text, pixels, classes=classes, beside=labels_bytes),
    )


def _alternatives(text: str, pixels: int, *, classes: int, beside: int) -> list[Alternative]:
    """Uncompressed sizes of other layouts; `text` stands for `pixels` in each formula."""
    layouts = {
        f"{classes} × float32": (classes, 4),
        f"{classes} × float16": (classes, 2),
        f"{classes} × uint8": (classes, 1),
        "hard uint8, raw": (1, 1),
    }
    return [
        Alternative(
            name=name,
            formula=f"{text} pixels × {numbers} × {width} B = {decimal_bytes(pixels * numbers * width)}",
            bytes=pixels * numbers * width,
            times=fraction(pixels * numbers * width, beside),
        )
        for name, (numbers, width) in layouts.items()
    ]


def _two_terabytes() -> str:
    """Explain why the figure known from the literature is not in the table."""
    sizes = [decimal_bytes(_REFERENCE_IMAGES * 1920 * 1080 * 19 * width) for width in (4, 2, 1)]
    return (
        "The often quoted 2 TB (20,000 images of 1920 × 1080, 19 classes) equals no raw size: "
        f"float32 takes {sizes[0]}, float16, the nearest, {sizes[1]}, uint8 {sizes[2]}."
    )


def _group(name: str, total: _Sum) -> Group:
    return Group(
        group=name,
        labels=total.labels,
        bytes=total.bytes,
        pixels=total.pixels,
        bytes_per_label=fraction(total.bytes, total.labels),
        bits_per_pixel=fraction(8 * total.bytes, total.pixels),
    )
