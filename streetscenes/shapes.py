"""Polygons in world coordinates, as arrays (polygons, corners, 3)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from streetscenes.camera import Array

RISE = np.array([0.0, 1.0, 0.0])

BOX = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])

Scalars = npt.ArrayLike


def panels(origin: Array, along: Array, left: Scalars, right: Scalars, low: Scalars, high: Scalars) -> Array:
    """Vertical rectangles in the plane through `origin`: left to right in metres along it, low to high above it."""
    corners = _corners(left, right, low, high)
    return np.asarray(origin + corners[..., :1] * along + corners[..., 1:] * RISE)


def floors(left: Scalars, right: Scalars, near: Scalars, far: Scalars) -> Array:
    """Rectangles on the ground."""
    corners = _corners(left, right, near, far)
    return np.stack([corners[..., 0], np.zeros(corners.shape[:2]), corners[..., 1]], axis=-1)


def _corners(left: Scalars, right: Scalars, low: Scalars, high: Scalars) -> Array:
    """(N, 4, 2) corners of rectangles in a plane."""
    sizes = [np.asarray(value).size for value in (left, right, low, high)]
    corners = np.empty((max(sizes) if all(sizes) else 0, 4, 2))
    corners[:, 0, 0] = corners[:, 3, 0] = left
    corners[:, 1, 0] = corners[:, 2, 0] = right
    corners[:, 0, 1] = corners[:, 1, 1] = low
    corners[:, 2, 1] = corners[:, 3, 1] = high
    return corners


def band(left: float, right: float, near: float, far: float) -> Array:
    """A strip of ground, divided crosswise so that it can follow a bend."""
    pieces = max(2, int(np.ceil(6 * np.log(far / near))))
    edges = np.geomspace(near, far, pieces)
    return floors(left, right, edges[:-1], edges[1:])


def cutout(centre: Array, outline: Array) -> Array:
    """One polygon that faces the camera; outline (M, 2) in metres right of and above `centre`."""
    return np.concatenate([outline, np.zeros((len(outline), 1))], axis=1)[None] + centre


def circle(corners: int, *, turn: float = 0.0) -> Array:
    """(corners, 2) points on the unit circle; few corners give a triangle, a diamond or an octagon."""
    angle = np.arange(corners) * 2 * np.pi / corners + turn
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def limb(start: tuple[float, float], end: tuple[float, float], thick: float, thin: float) -> Array:
    """(4, 2) outline of a tapered stroke."""
    first, last = np.array(start), np.array(end)
    step = last - first
    side = np.array([-step[1], step[0]]) / max(float(np.hypot(*step)), 1e-9) / 2
    return np.stack([first + side * thick, last + side * thin, last - side * thin, first - side * thick])


def disc(middle: Array, across: float, ahead: float) -> Array:
    """(12, 3): an ellipse on the ground."""
    ring = circle(12)
    return np.asarray(middle + np.stack([ring[:, 0] * across, np.zeros(12), ring[:, 1] * ahead], axis=1))


def shadow(foot: Array, towards: Array, height: float, width: float) -> Array:
    """(4, 3): the shadow of a vertical strip on the ground, with the sun in direction `towards`."""
    tip = foot - np.array([towards[0], 0, towards[2]]) * height / towards[1]
    wide = np.array([width / 2, 0, 0])
    return np.stack([foot - wide, foot + wide, tip + wide, tip - wide])


def between(spans: Iterable[tuple[float, float]], start: float, stop: float) -> list[tuple[float, float]]:
    """The intervals of start..stop that no span covers."""
    gaps = []
    for low, high in sorted(spans):
        if low > start:
            gaps.append((start, min(low, stop)))
        start = max(start, high)
    return [*gaps, (start, stop)] if start < stop else gaps
