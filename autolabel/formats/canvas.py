"""Draw polygons and run lengths into a label map.

A pixel belongs to a polygon if its centre lies inside. A polygon of integer corners is therefore exact. What is drawn
later lies on top.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import IGNORE
from autolabel.errors import LabelError
from autolabel.formats.base import LabelMap
from autolabel.formats.runs import Counts, inside_runs

CROSSINGS = ("even-odd", "nonzero")
_LAYERS = 64  # so often may all pixels of an image be covered: more is an attack, or a mistake
_FREE = 4_000_000  # pixels
EMPTY_MASK, TINY_POLYGON = "empty mask", "tiny polygon"
WITHOUT_PIXELS = {EMPTY_MASK: "empty masks", TINY_POLYGON: "polygons smaller than a pixel"}  # in words
_REMEDY = "correct the annotation in its tool"


def ring_area(ring: NDArray[np.float64]) -> float:
    """Area in pixels that a ring (N, 2) encloses (the shoelace formula)."""
    x, y = ring.T
    return float(abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


class Canvas:
    """A label map (H, W) of ignore. `columns` lays it out for runs down the columns, as in COCO.

    `notes` counts regions that cover no pixel.
    """

    def __init__(
        self, height: int, width: int, *, columns: bool = False, crossing: str = "", notes: Counter[str] | None = None
    ) -> None:
        self._notes: Counter[str] = Counter() if notes is None else notes
        self.labels: LabelMap = np.full((height, width), IGNORE, np.uint8, order="F" if columns else "C")
        self._flat = self.labels.reshape(-1, order="F" if columns else "C")
        self._crossing = crossing
        self._left = _LAYERS * height * width + _FREE

    def runs(self, counts: Counts, value: int, where: object) -> None:
        """Fill the runs of the whole map, in its own layout. Raises LabelError."""
        starts, ends = inside_runs(counts, self._flat.size, where)
        pixels = int(np.sum(ends - starts[: ends.size]))
        self._charge(pixels + counts.size, where)
        self._note(pixels > 0, EMPTY_MASK)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=False):
            self._flat[start:end] = value

    def box_runs(self, counts: Counts, box: tuple[int, int, int, int], value: int, where: object) -> None:
        """Fill runs along the rows of the box (top, left, height, width). Raises LabelError."""
        top, left, height, width = box
        if min(box) < 0 or not height or not width or any(np.add(box[:2], box[2:]) > self.labels.shape):
            raise LabelError(where, "the box of the mask does not lie in its image", _REMEDY)
        inside_runs(counts, height * width, where)
        mask = np.repeat(np.arange(counts.size) % 2 == 1, counts).reshape(height, width)
        self.mask(mask, value, where, top=top, left=left)

    def mask(self, mask: NDArray[np.bool_], value: int, where: object, *, top: int = 0, left: int = 0) -> None:
        self._note(self._paint(mask, value, where, top, left), EMPTY_MASK)

    def _paint(self, mask: NDArray[np.bool_], value: int, where: object, top: int, left: int) -> bool:
        """Whether the mask has a pixel."""
        height, width = mask.shape
        self._charge(mask.size, where)
        self.labels[top : top + height, left : left + width][mask] = value
        return bool(mask.any())

    def _note(self, has_pixels: bool, kind: str) -> None:
        if not has_pixels:
            self._notes[kind] += 1

    def polygons(self, rings: list[NDArray[np.float64]], value: int, where: object) -> None:
        """Fill the union of rings (N, 2) of x and y in pixels. Raises LabelError."""
        has_pixels = False
        for ring in rings:
            filled = self._fill(ring, where)
            if filled is not None:
                winding, top, left = filled
                has_pixels |= self._paint(self._inside(winding, where), value, where, top, left)
        self._note(has_pixels, TINY_POLYGON)

    def _fill(self, ring: NDArray[np.float64], where: object) -> tuple[NDArray[np.int16], int, int] | None:
        """Winding number of the pixel centres in the ring's box, and where the box starts; None if it has no pixel."""
        if len(ring) < 3:
            raise LabelError(where, f"a polygon has {len(ring)} points", "draw at least three, or delete it")
        if not np.isfinite(ring).all() or np.abs(ring).max() > 1e7:
            raise LabelError(where, "a polygon has a coordinate that is no pixel", _REMEDY)
        height, width = self.labels.shape
        low, high = ring.min(axis=0), ring.max(axis=0)
        if (high < 0).any() or low[0] > width or low[1] > height:
            raise LabelError(where, "a polygon lies outside its image", "is it of another image or size? " + _REMEDY)
        left, top = np.clip(np.floor(low).astype(int), 0, [width, height])
        right, bottom = np.clip(np.ceil(high).astype(int), 0, [width, height])
        if left == right or top == bottom:
            return None
        self._charge(int((right - left) * (bottom - top)), where)
        return self._winding(ring, top, bottom, left, right, where), int(top), int(left)

    def _winding(
        self, ring: NDArray[np.float64], top: int, bottom: int, left: int, right: int, where: object
    ) -> NDArray[np.int16]:
        start, end = ring, np.roll(ring, -1, axis=0)
        up = (start[:, 1] > end[:, 1])[:, None]
        low, high = np.where(up, end, start), np.where(up, start, end)  # equal edges cross a row at equal places
        first = np.clip(np.ceil(low[:, 1] - 0.5).astype(int), top, bottom)
        last = np.clip(np.ceil(high[:, 1] - 0.5).astype(int), top, bottom)
        number = last - first
        self._charge(4 * int(number.sum()), where)
        edge = np.repeat(np.arange(len(ring)), number)
        row = np.arange(edge.size) - np.repeat(np.cumsum(number) - number, number) + first[edge]
        slope = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
        x = low[edge, 0] + (row + 0.5 - low[edge, 1]) * slope
        column = np.clip(np.ceil(x - 0.5).astype(int), left, right)
        winding = np.zeros((bottom - top, right - left + 1), np.int16)
        np.add.at(winding, (row - top, column - left), np.where(up[edge, 0], -1, 1).astype(np.int16))
        winding = np.cumsum(winding, axis=1, dtype=np.int16)
        return winding[:, :-1]

    def _inside(self, winding: NDArray[np.int16], where: object) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = winding % 2 == 1 if self._crossing == "even-odd" else winding != 0
        low, high = int(winding.min()), int(winding.max())
        if not self._crossing and (high - low > 1 or max(-low, high) > 1):
            remedy = f"{_REMEDY}, or fill it by --crossing {' or '.join(CROSSINGS)}"
            raise LabelError(where, "a polygon crosses itself", remedy)
        return inside

    def _charge(self, pixels: int, where: object) -> None:
        self._left -= pixels
        if self._left < 0:
            raise LabelError(where, f"annotations cover the image more than {_LAYERS} times", "remove repeated ones")
