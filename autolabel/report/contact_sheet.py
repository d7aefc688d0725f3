"""A sheet with the prediction and attention of every scale (Figures 2 and 5 of the method)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from autolabel.labels.visualize import colourise, grayscale, grayscale_limits, overlay
from autolabel.report.data import ScaleView
from autolabel.report.images import WIDTH, shrunk

_MARGIN, _CAPTION, _TEXT = 8, 22, 15  # pixels: around panels, caption height, letter height
_MIN_PANEL = 320  # pixels; captions fit
_PAPER, _INK = (255, 255, 255), (38, 39, 43)


class Panel(NamedTuple):
    caption: str
    image: NDArray[np.uint8]  # (H, W, 3) RGB


def scale_sheet(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    views: Sequence[ScaleView],
    colours: NDArray[np.uint8],
    *,
    width: int = WIDTH,
) -> NDArray[np.uint8]:
    """Image and labels side by side; below them one row per scale, its prediction and attention: (H, W, 3) RGB.

    `colours` is a (256, 3) table; panels are at most `width` pixels wide.
    """
    return grid(scale_rows(image, labels, views, colours), width=width)


def scale_rows(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], views: Sequence[ScaleView], colours: NDArray[np.uint8]
) -> list[tuple[Panel, Panel]]:
    """Rows of panels. Attention is white at 1 and black at 0; if weights leave that range, all scales use a wider one,
    which the captions state."""
    limits = grayscale_limits(view.weight for view in views)
    key = "black {:.3g}, white {:.3g}".format(*limits)
    rows = [(Panel("image", image), Panel("labels, all scales together", overlay(image, labels, colours)))]
    rows += [
        (
            Panel(f"prediction at {view.scale:g}x", colourise(view.prediction, colours)),
            Panel(f"attention at {view.scale:g}x, {key}", grayscale(view.weight, limits)),
        )
        for view in views
    ]
    return rows


def grid(rows: Sequence[Sequence[Panel]], *, width: int) -> NDArray[np.uint8]:
    """Panels of one size, each below its caption, on white paper."""
    cells = [[Panel(caption, shrunk(image, width)) for caption, image in row] for row in rows]
    height, wide = cells[0][0].image.shape[:2]
    step_x, step_y = max(wide, _MIN_PANEL) + _MARGIN, height + _CAPTION + _MARGIN
    columns = max(map(len, cells))
    sheet = Image.new("RGB", (columns * step_x + _MARGIN, len(cells) * step_y + _MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for j, row in enumerate(cells):
        for i, (caption, image) in enumerate(row):
            x, y = _MARGIN + i * step_x, _MARGIN + j * step_y
            draw.text((x, y), caption, fill=_INK, font=font)
            sheet.paste(Image.fromarray(image), (x, y + _CAPTION))
    return np.asarray(sheet)
