"""The outlines of a mask as polygons along the edges of its pixels: filled by pixel centres they give the mask again.

A region of pixels that touch at edges is one polygon. A hole is connected with the outline on its left by a double
edge along a row, as YOLO and other formats of one ring a region need it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ring = list[tuple[int, int]]  # corners x, y in pixels
_RIGHT, _DOWN, _LEFT, _UP = range(4)
_STEP = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(mask: NDArray[np.bool_]) -> list[Ring]:
    """One ring for each 4-connected region of an (H, W) mask."""
    loops = _loops(mask)
    at: dict[tuple[int, int], int] = {}  # (x, y) of the lower end of a vertical edge -> loop
    for number, loop in enumerate(loops):
        for (x, y), (x2, y2) in zip(loop, loop[1:] + loop[:1], strict=True):
            if x == x2:
                at.update(((x, row), number) for row in range(min(y, y2) + 1, max(y, y2) + 1))
    holes: dict[int, list[tuple[tuple[int, int], int]]] = {}
    outer = []
    for number, loop in enumerate(loops):
        if _is_outer(loop):
            outer.append(number)
            continue
        x, y = min(loop, key=lambda point: (point[1], point[0]))  # the pixel above and left of it is in the region
        left = x
        while (left, y) not in at or at[left, y] == number:
            left -= 1
        holes.setdefault(at[left, y], []).append(((left, y), number))
    return [_joined(number, loops, holes) for number in outer]


def _loops(mask: NDArray[np.bool_]) -> list[Ring]:
    """Closed loops of corners with the region on the right-hand side; regions that touch at a corner stay apart."""
    padded = np.pad(mask, 1)
    horizontal = padded[1:, 1:-1].astype(np.int8) - padded[:-1, 1:-1]  # (H + 1, W): 1 = the region begins below
    vertical = padded[1:-1, 1:].astype(np.int8) - padded[1:-1, :-1]  # (H, W + 1): 1 = the region begins on the right
    edges: set[tuple[int, int, int]] = set()  # x, y, direction
    edges.update((x, y, _RIGHT) for y, x in np.argwhere(horizontal == 1).tolist())
    edges.update((x + 1, y, _LEFT) for y, x in np.argwhere(horizontal == -1).tolist())
    edges.update((x, y + 1, _UP) for y, x in np.argwhere(vertical == 1).tolist())
    edges.update((x, y, _DOWN) for y, x in np.argwhere(vertical == -1).tolist())
    loops = []
    for first in sorted(edges, key=lambda edge: (edge[1], edge[0], edge[2])):
        if first in edges:
            loops.append(_walk(first, edges))
    return loops


def _walk(first: tuple[int, int, int], edges: set[tuple[int, int, int]]) -> Ring:
    """Follow the edges from `first` back to it, removing them; only corners are kept."""
    x, y, direction = first
    corners: Ring = []
    while True:
        edges.discard((x, y, direction))
        x, y = x + _STEP[direction][0], y + _STEP[direction][1]
        turn = _turn(x, y, direction, edges, first)
        if turn != direction:
            corners.append((x, y))
        if (x, y, turn) == first:
            return corners
        direction = turn


def _turn(x: int, y: int, direction: int, edges: set[tuple[int, int, int]], first: tuple[int, int, int]) -> int:
    """Right first: it keeps to the same pixel where two of the region touch at a corner."""
    for turn in ((direction + 1) % 4, direction, (direction + 3) % 4):
        if (x, y, turn) in edges or (x, y, turn) == first:
            return turn
    raise AssertionError("the edges of a mask are closed")


def _is_outer(loop: Ring) -> bool:
    area = sum(x * y2 - x2 * y for (x, y), (x2, y2) in zip(loop, loop[1:] + loop[:1], strict=True))
    return area > 0


def _joined(outer: int, loops: list[Ring], holes: dict[int, list[tuple[tuple[int, int], int]]]) -> Ring:
    """The outer loop with its holes, and theirs, inserted where their bridges end."""
    ring = _with_points(loops[outer], [point for point, _ in holes.get(outer, ())])
    waiting = list(holes.get(outer, ()))
    while waiting:
        point, hole = waiting.pop()
        inner = _with_points(loops[hole], [place for place, _ in holes.get(hole, ())])
        start = min(range(len(inner)), key=lambda index: (inner[index][1], inner[index][0]))
        place = ring.index(point)
        ring[place + 1 : place + 1] = [*inner[start:], *inner[: start + 1], point]
        waiting.extend(holes.get(hole, ()))
    return ring


def _with_points(loop: Ring, points: list[tuple[int, int]]) -> Ring:
    """The loop with these points of its vertical edges as corners."""
    if not points:
        return list(loop)
    ring: Ring = []
    for (x, y), (x2, y2) in zip(loop, loop[1:] + loop[:1], strict=True):
        ring.append((x, y))
        between = {point for point in points if x == x2 == point[0] and min(y, y2) < point[1] < max(y, y2)}
        ring.extend(sorted(between, key=lambda point: abs(point[1] - y)))
    return ring
