"""Coarse labels of any label map, as an annotator draws them in a minute.

Small objects and borders are left out, and outlines become polygons with few corners; all other pixels are ignored. The
result resembles the coarse labels of Cityscapes (Cordts et al. 2016, section 2.2).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from streetscenes.outlines import Mask, Outline, area, simplify, trace

IGNORE = 255
_ROWS = 256  # approximate number of rows of the grid for outlines, at every label size

# fractions of `unit`, the height of a 1:2 image that holds the label
_BORDER = 0.016
_GAP = 0.006
_TOLERANCE = 0.018
_TREMBLE = 0.004
_SMALLEST = 0.0015  # fraction of the image


def coarse_label(label: npt.NDArray[np.uint8], *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A coarse version of a label map (H, W) of train ids; 255 means ignore in both.

    `seed` varies the corners of the polygons; the same label and seed give the same bytes.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    step = max(1, round(max(label.shape[0], label.shape[1] / 2) / _ROWS))
    grid = label[step // 2 :: step, step // 2 :: step] if min(label.shape) > step else label
    unit = max(grid.shape[0], grid.shape[1] / 2)
    canvas = Image.new("L", (label.shape[1], label.shape[0]), IGNORE)
    draw = ImageDraw.Draw(canvas)
    shapes = []
    for value in np.unique(grid[grid != IGNORE]).tolist():
        shapes += [(abs(area(loop)), value, loop) for loop in _regions(grid == value, unit)]
    for _, value, loop in sorted(shapes, key=lambda shape: -shape[0]):  # a region in a hole is smaller than the hole
        corners = simplify(loop, unit * _TOLERANCE)
        if len(corners) < 3:
            continue
        corners = corners + np.clip(rng.normal(0, unit * _TREMBLE, corners.shape), -unit * _BORDER, unit * _BORDER)
        draw.polygon(np.rint(corners * step - 0.5).ravel().tolist(), fill=value if area(loop) > 0 else IGNORE)
    return np.array(canvas)


def _regions(mask: Mask, unit: float) -> list[Outline]:
    """Outlines of the large regions of one class, and of the large holes in them."""
    gap, border = round(unit * _GAP), max(1, round(unit * _BORDER))
    filled = _erode(~_erode(~mask, gap), gap) | mask
    smallest = _SMALLEST * mask.size
    return [loop for loop in trace(_erode(filled, border)) if abs(area(loop)) >= smallest]


def _erode(mask: Mask, radius: int) -> Mask:
    """Keep pixels whose square of `radius` pixels around lies in the mask; pixels outside the image count as mask."""
    height, width = mask.shape
    padded = np.pad(mask, radius, constant_values=True)
    rows = np.logical_and.reduce([padded[i : i + height] for i in range(2 * radius + 1)])
    kept: Mask = np.logical_and.reduce([rows[:, i : i + width] for i in range(2 * radius + 1)])
    return kept
