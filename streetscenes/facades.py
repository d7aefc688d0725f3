"""House fronts: walls, windows, shops and balconies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streetscenes.camera import NEAR, Array
from streetscenes.canvas import Canvas
from streetscenes.labels import Label
from streetscenes.light import mix, srgb
from streetscenes.shapes import RISE, Scalars, panels

_WALLS = (
    (150, 82, 66), (128, 70, 60), (172, 108, 84), (206, 190, 158), (224, 214, 192), (196, 186, 170),
    (168, 166, 162), (214, 176, 120), (190, 150, 104), (232, 228, 220), (148, 158, 160), (120, 118, 116),
    (176, 190, 178), (206, 160, 142), (112, 128, 140), (92, 84, 80),
)  # fmt: skip
_TRIMS = ((236, 232, 224), (208, 200, 186), (120, 110, 100), (70, 66, 64))
_GLASS = ((38, 46, 56), (52, 62, 72), (30, 34, 40), (60, 78, 92))
_LAMPS = ((255, 206, 130), (255, 224, 170), (236, 240, 255), (255, 184, 96))
_SHOPS = (
    (30, 60, 48),
    (120, 26, 30),
    (26, 40, 82),
    (40, 38, 38),
    (196, 160, 60),
    (228, 224, 214),
    (160, 66, 30),
    (84, 40, 78),
)
GROUND_FLOOR = 3.7  # metres

Floats = npt.NDArray[np.floating]
Put = Callable[..., None]  # (left, right, low, high, colour, *, lit): rectangles on the wall


@dataclass(frozen=True)
class Plane:
    """A vertical plane: a corner on the ground, its direction, its outward normal, and its width in metres."""

    origin: Array
    along: Array
    normal: Array
    width: float

    @property
    def distance(self) -> float:
        return max(NEAR, min(float(self.origin[2]), float(self.origin[2] + self.along[2] * self.width)))


@dataclass(frozen=True)
class Front:
    """The style of a house, which its sides share."""

    wall: Array
    trim: Array
    glass: Array
    shop: Array | None
    storeys: int
    storey: float  # metres
    pitch: float  # metres between window axes
    window: tuple[float, float]  # fractions of pitch and storey
    framed: bool
    balconies: bool
    banded: bool
    roughness: float

    @property
    def height(self) -> float:
        return GROUND_FLOOR + (self.storeys - 1) * self.storey


def sample_front(rng: np.random.Generator, storeys: tuple[int, int], shops: float) -> Front:
    modern = rng.random() < (0.55 if storeys[1] > 8 else 0.15)
    punched, tall = (float(rng.uniform(0.36, 0.56)), float(rng.uniform(0.48, 0.66))), float(rng.uniform(0.55, 0.85))
    return Front(
        wall=np.clip(srgb(*rng.choice(_WALLS)) * rng.uniform(0.8, 1.2) * rng.uniform(0.92, 1.08, 3), 0.01, 0.9),
        trim=srgb(*rng.choice(_TRIMS)),
        glass=srgb(*rng.choice(_GLASS)),
        shop=srgb(*rng.choice(_SHOPS)) if rng.random() < shops else None,
        storeys=int(rng.integers(storeys[0], storeys[1] + 1)),
        storey=float(rng.uniform(2.8, 3.5)),
        pitch=float(rng.uniform(1.6, 2.2) if modern else rng.uniform(2.1, 3.2)),
        window=(0.92, tall) if modern else punched,
        framed=bool(not modern and rng.random() < 0.8),
        balconies=bool(rng.random() < 0.2),
        banded=bool(rng.random() < 0.4),
        roughness=float(rng.uniform(0.03, 0.14)),
    )


def draw_front(canvas: Canvas, plane: Plane, front: Front, rng: np.random.Generator, *, shops: bool = True) -> None:
    """Draw one side of a house on `plane`, wall first."""

    def put(left: Scalars, right: Scalars, low: Scalars, high: Scalars, colour: Array, *, lit: bool = True) -> None:
        shape = panels(plane.origin, plane.along, left, right, low, high)
        normal = plane.normal if lit else None
        canvas.fill(shape, colour, Label.BUILDING, normal=normal, texture=front.roughness if lit else 0.0)

    width, height = plane.width, front.height
    edges = np.linspace(0, width, max(2, int(width / 4) + 1))  # in segments, because haze depends on distance
    put(edges[:-1], edges[1:], 0, height, front.wall)
    put(0, width, 0, 0.5, front.wall * 0.6)
    if front.banded:
        floors = GROUND_FLOOR + np.arange(front.storeys) * front.storey
        put(0, width, floors - 0.22, floors, mix(front.wall, front.trim, 0.5))
    _draw_windows(put, plane, front, canvas, rng)
    if shops and front.shop is not None:
        _draw_shop(put, canvas, plane, front.shop, front, rng)
    put(0, width, height - 0.35, height, front.trim * 0.9)
    put(0, width, height - 0.5, height - 0.35, front.wall * 0.5)


def _draw_windows(put: Put, plane: Plane, front: Front, canvas: Canvas, rng: np.random.Generator) -> None:
    columns = int((plane.width - 0.8) / front.pitch)
    if columns < 1:
        return
    first = 1 if front.shop is not None else 0
    margin = (plane.width - columns * front.pitch) / 2
    storey, column = (
        np.repeat(np.arange(first, front.storeys), columns),
        np.tile(np.arange(columns), front.storeys - first),
    )
    wide, tall = front.window[0] * front.pitch, front.window[1] * front.storey
    left = margin + (column + 0.5) * front.pitch - wide / 2
    low = np.where(storey == 0, 1.1, GROUND_FLOOR + (storey - 1) * front.storey + (front.storey - tall) * 0.55)
    right, high = left + wide, low + tall
    lamps = rng.random(len(left)) < canvas.light.lamps
    mirrored = rng.random(len(left))[:, None] ** 2 * 0.5
    tint, power = srgb(*rng.choice(_LAMPS)), rng.uniform(0.25, 0.9, len(left))[:, None]
    blinds = rng.random(len(left)) < 0.25
    detailed = plane.distance < 45
    if front.framed and detailed:
        put(left - 0.12, right + 0.12, low - 0.1, high + 0.16, front.trim)
    put(left, right, low, high, mix(front.glass, canvas.light.horizon * 0.5, mirrored))
    put(left[lamps], right[lamps], low[lamps], high[lamps], tint * power[lamps], lit=False)
    if detailed:
        put(
            left[blinds],
            right[blinds],
            high[blinds] - 0.45 * tall,
            high[blinds],
            mix(front.trim, front.wall, 0.3) * 0.8,
        )
        put(left, right, high - 0.12 * tall, high, front.glass * 0.4)
        put(left - 0.18, right + 0.18, low - 0.22, low - 0.05, front.trim * 0.85)
    if plane.distance < 25:
        centre = (left + right) / 2
        put(centre - 0.04, centre + 0.04, low, high, front.trim * 0.8)
    if front.balconies and detailed:
        _draw_balconies(put, left[storey > 0], right[storey > 0], low[storey > 0], front)


def _draw_balconies(put: Put, left: Floats, right: Floats, low: Floats, front: Front) -> None:
    put(left - 0.35, right + 0.35, low - 0.3, low + 0.55, front.glass * 0.8)
    put(left - 0.35, right + 0.35, low - 0.42, low - 0.28, front.trim * 0.7)
    put(left - 0.35, right + 0.35, low + 0.5, low + 0.58, front.trim * 0.6)


def _draw_shop(put: Put, canvas: Canvas, plane: Plane, paint: Array, front: Front, rng: np.random.Generator) -> None:
    width = plane.width
    panes = max(2, int(width / 2.4))
    edges = np.linspace(0.3, width - 0.3, panes + 1)
    door = int(rng.integers(panes))
    bright = rng.random() < 0.2 + canvas.light.lamps
    put(0, width, 0, GROUND_FLOOR - 0.15, paint * 0.7)
    low = np.full(panes, 0.6)
    low[door] = 0.05
    inside = (
        srgb(*rng.choice(_LAMPS)) * rng.uniform(0.3, 0.8) if bright else mix(front.glass, canvas.light.horizon, 0.12)
    )
    put(edges[:-1] + 0.1, edges[1:] - 0.1, low, 2.75, inside, lit=not bright)
    goods = rng.random((panes, 3)) ** 2 * 0.6  # colourful objects behind the glass
    put(edges[:-1] + 0.3, edges[1:] - 0.3, low + 0.1, low + rng.uniform(0.3, 1.1, panes), mix(goods, front.glass, 0.4))
    put(0, width, 2.85, GROUND_FLOOR - 0.1, paint)
    put(width * 0.2, width * 0.8, 3.08, 3.36, mix(paint, srgb(240, 236, 220), 0.8), lit=not bright)
    if rng.random() < 0.4:
        _draw_awning(canvas, plane, mix(paint, srgb(220, 60, 50), rng.random()), rng)


def _draw_awning(canvas: Canvas, plane: Plane, colour: Array, rng: np.random.Generator) -> None:
    """Striped cloth that slopes towards the pavement."""
    edges = np.linspace(0.2, plane.width - 0.2, 2 * max(2, int(plane.width / 1.6)) + 1)
    cloth = panels(plane.origin, plane.along, edges[:-1], edges[1:], 2.35, 2.95)
    cloth[:, :2] += plane.normal * rng.uniform(0.7, 1.2)
    stripes = np.where(np.arange(len(cloth))[:, None] % 2, colour, srgb(236, 230, 216))
    canvas.fill(cloth, stripes, Label.BUILDING, normal=(plane.normal + RISE) / np.sqrt(2), texture=0.05)
