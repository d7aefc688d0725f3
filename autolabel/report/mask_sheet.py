"""A sheet of a few images with their masks, and the legend of the classes: what a human checks before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from autolabel.classes import ClassSet
from autolabel.labels.visualize import overlay
from autolabel.report.contact_sheet import Panel, grid
from autolabel.report.images import shrunk

_WIDTH = 480  # pixels of a panel
_LINE, _SWATCH, _MARGIN, _TEXT = 24, 16, 8, 15  # pixels
_PAPER, _INK = (255, 255, 255), (38, 39, 43)


class MaskSample(NamedTuple):
    name: str
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    train_ids: NDArray[np.uint8]  # (H, W), 255 = no class


def mask_sheet(samples: Sequence[MaskSample], classes: ClassSet, fractions: Sequence[float]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: a row of image and mask per sample, then a line per class with its fraction of the pixels.

    The mask lies over the image; pixels of no class show the image.
    """
    colours = classes.colours()
    rows = [
        (
            Panel(sample.name[-60:], _framed(sample.image)),
            Panel("mask", _framed(overlay(sample.image, sample.train_ids, colours, 0.75))),
        )
        for sample in samples
    ]
    legend = _legend(classes, fractions)
    parts = [grid(rows, width=_WIDTH), legend] if rows else [legend]
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_widened(part, width) for part in parts])


def _framed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image fitted into a panel of 4 to 3."""
    height = _WIDTH * 3 // 4
    fit = min(_WIDTH, round(height * image.shape[1] / image.shape[0]))
    small = shrunk(image, max(1, fit))
    if small.shape[0] > height or small.shape[1] < fit:  # very tall images, and small ones, which are enlarged
        size = (max(1, fit), min(height, max(1, round(image.shape[0] * fit / image.shape[1]))))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))
    panel = np.full((height, _WIDTH, 3), 255, np.uint8)
    panel[: small.shape[0], : small.shape[1]] = small
    return panel


def _legend(classes: ClassSet, fractions: Sequence[float]) -> NDArray[np.uint8]:
    sheet = Image.new("RGB", (_WIDTH, _MARGIN + _LINE * classes.num_classes), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for index, (name, colour, fraction) in enumerate(zip(classes.names, classes.palette, fractions, strict=True)):
        y = index * _LINE
        draw.rectangle((_MARGIN, y, _MARGIN + _SWATCH, y + _SWATCH), fill=colour, outline=_INK)
        draw.text((2 * _MARGIN + _SWATCH, y), f"{index}  {name}  {100 * fraction:.2f} %", fill=_INK, font=font)
    return np.asarray(sheet)


def _widened(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)), constant_values=255)
