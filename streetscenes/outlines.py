"""Outlines of the regions of a mask, and polygons that approximate them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Outline = npt.NDArray[np.float64]  # (M, 2) corners as (column, row), not closed

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up


def trace(mask: Mask) -> list[Outline]:
    """The outline of every region of `mask`, along the sides of its pixels.

    Regions are 4-connected. An outer outline has a positive `area`, that of a hole a negative one.
    """
    edges = _edges(mask)
    loops = []
    for start in sorted(edges):
        if start in edges:
            loops.append(_follow(edges, start))
    return loops


def _edges(mask: Mask) -> dict[tuple[int, int, int], None]:
    """Directed pixel sides on the border as (column, row, direction) of their start; the region is on the right."""
    inside = np.pad(mask, 1)
    across, down = inside[1:, 1:-1] & ~inside[:-1, 1:-1], inside[:-1, 1:-1] & ~inside[1:, 1:-1]
    up, along = inside[1:-1, 1:] & ~inside[1:-1, :-1], inside[1:-1, :-1] & ~inside[1:-1, 1:]
    edges: dict[tuple[int, int, int], None] = {}
    for direction, sides, right, low in ((0, across, 0, 0), (1, along, 0, 0), (2, down, 1, 0), (3, up, 0, 1)):
        rows, columns = np.nonzero(sides)
        starts = zip((columns + right).tolist(), (rows + low).tolist(), [direction] * len(rows), strict=True)
        edges.update(dict.fromkeys(starts))
    return edges


def _follow(edges: dict[tuple[int, int, int], None], start: tuple[int, int, int]) -> Outline:
    """One closed outline, removed from `edges`; where two outlines touch, it stays with its own region."""
    column, row, direction = start
    corners = []
    while True:
        edges.pop((column, row, direction))
        column, row = column + _STEPS[direction][0], row + _STEPS[direction][1]
        for turn in (1, 0, 3):
            following = (column, row, (direction + turn) % 4)
            if following in edges or following == start:
                break
        if turn:
            corners.append((column, row))
        if following == start:
            return np.array(corners, np.float64)
        direction = following[2]


def area(outline: Outline) -> float:
    """Signed area in pixels."""
    x, y = outline[:, 0], outline[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def simplify(outline: Outline, tolerance: float) -> Outline:
    """A polygon within `tolerance` of the outline, with few corners (Douglas and Peucker 1973)."""
    far = int(np.argmax(np.sum((outline - outline[0]) ** 2, axis=1)))
    closed = np.concatenate([outline, outline[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, far]] = True
    spans = [(0, far), (far, len(closed) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return outline[kept[:-1]]


def _distances(points: Outline, start: Outline, end: Outline) -> npt.NDArray[np.float64]:
    """(N,) distances of points from a segment."""
    step = end - start
    position = np.clip((points - start) @ step / max(float(step @ step), 1e-9), 0, 1)
    offset = points - start - position[:, None] * step
    return np.hypot(offset[:, 0], offset[:, 1])
