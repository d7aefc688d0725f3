"""Road signs as polygons."""

from __future__ import annotations

import numpy as np

from streetscenes.camera import Array
from streetscenes.light import srgb
from streetscenes.shapes import BOX, circle

_WHITE, _RED, _BLUE = srgb(232, 232, 228), srgb(190, 24, 30), srgb(24, 70, 160)
_YELLOW, _BLACK, _GREEN = srgb(234, 184, 30), srgb(24, 24, 26), srgb(20, 104, 66)
_ARROW = np.array([(-0.12, -0.6), (0.12, -0.6), (0.12, 0.1), (0.36, 0.1), (0.0, 0.65), (-0.36, 0.1), (-0.12, 0.1)])
_DISC, _DIAMOND, _OCTAGON = circle(16), circle(4), circle(8, turn=np.pi / 8)
_PEAK, _DIP = circle(3, turn=np.pi / 2), circle(3, turn=-np.pi / 2)

Layers = tuple[tuple[Array, Array], ...]  # (outline in the unit square, colour) from back to front


def _bar(width: float, height: float, x: float = 0.0, y: float = 0.0) -> Array:
    outline: Array = BOX * np.array([width, height]) + np.array([x, y])
    return outline


def _dot(radius: float, x: float, y: float) -> Array:
    outline: Array = circle(10) * radius + np.array([x, y])
    return outline


PLATES: dict[str, Layers] = {
    "limit": (
        (_DISC, _RED),
        (_DISC * 0.76, _WHITE),
        (_bar(0.14, 0.4, -0.26), _BLACK),
        (_bar(0.2, 0.4, 0.24), _BLACK),
        (_bar(0.07, 0.24, 0.24), _WHITE),
    ),
    "no entry": ((_DISC, _WHITE), (_DISC * 0.92, _RED), (_bar(0.62, 0.17), _WHITE)),
    "warning": ((_PEAK * 1.15, _RED), (_PEAK * 0.75, _WHITE), (_bar(0.08, 0.25), _BLACK)),
    "give way": ((_DIP * 1.15, _RED), (_DIP * 0.7, _WHITE)),
    "stop": ((_OCTAGON, _WHITE), (_OCTAGON * 0.92, _RED), (_bar(0.6, 0.14), _WHITE)),
    "priority": ((_DIAMOND * 1.1, _WHITE), (_DIAMOND * 0.75, _YELLOW)),
    "way": ((_DISC, _WHITE), (_DISC * 0.93, _BLUE), (_ARROW * 1.1, _WHITE)),
    "crossing": ((BOX * 0.9, _BLUE), (_PEAK * 0.75, _WHITE), (_bar(0.08, 0.25), _BLACK)),
    "parking": (
        (_bar(0.75, 1.0), _BLUE),
        (_bar(0.1, 0.6, -0.2), _WHITE),
        (_dot(0.34, 0.08, 0.28), _WHITE),
        (_dot(0.16, 0.08, 0.28), _BLUE),
    ),
    "direction": (
        (_bar(1.9, 0.62), _WHITE),
        (_bar(1.82, 0.55), _GREEN),
        (_bar(0.9, 0.1, -0.5, 0.2), _WHITE),
        (_bar(0.7, 0.1, -0.7, -0.2), _WHITE),
        (_ARROW * 0.6 + np.array([1.3, 0]), _WHITE),
    ),
    "detour": ((_bar(1.5, 0.5), _BLACK), (_bar(1.42, 0.43), _YELLOW), (_bar(0.9, 0.1), _BLACK)),
}
