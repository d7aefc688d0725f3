"""Road, pavement, grass and road markings."""

from __future__ import annotations

import numpy as np

from streetscenes.camera import NEAR, Array
from streetscenes.canvas import Canvas
from streetscenes.labels import Label
from streetscenes.light import srgb
from streetscenes.shapes import band, between, disc, floors
from streetscenes.street import FAR, Street

_ASPHALT = ((74, 75, 78), (92, 91, 90), (62, 64, 68), (108, 104, 98), (84, 80, 80))
_SLABS = ((146, 142, 136), (122, 120, 118), (160, 146, 128), (150, 120, 106), (110, 108, 112), (88, 90, 92))
_PAINT = ((226, 226, 220), (206, 206, 200), (224, 190, 92))
GRASS = ((84, 112, 52), (104, 122, 60), (126, 122, 74), (70, 98, 50))


def draw_ground(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    asphalt = srgb(*rng.choice(_ASPHALT)) * rng.uniform(0.85, 1.2)
    slabs = srgb(*rng.choice(_SLABS)) * rng.uniform(0.85, 1.2)
    grass = srgb(*rng.choice(GRASS)) * rng.uniform(0.8, 1.2)
    paint = srgb(*rng.choice(_PAINT, p=(0.5, 0.35, 0.15)))
    canvas.lay(band(-150, 150, NEAR, 400), slabs, Label.PAVEMENT)
    _draw_green(canvas, street, grass)
    left, right = sorted(side.sign * side.kerb for side in street.sides)
    canvas.lay(band(left, right, NEAR, street.end), asphalt, Label.ROAD)
    for low, high in street.junctions:
        canvas.lay(floors(np.arange(-150, 150, 10), np.arange(-140, 160, 10), low, high), asphalt, Label.ROAD)
    _draw_kerbs(canvas, street, asphalt, slabs)
    _draw_markings(canvas, street, paint, rng)
    _draw_covers(canvas, street, asphalt, rng)


def _draw_green(canvas: Canvas, street: Street, grass: Array) -> None:
    """Grass in the gaps between buildings and in front gardens."""
    for side in street.sides:
        for near, far, built in side.blocks:
            start, outer = max(near, NEAR), side.facade if built else 150.0
            if far > start and outer > side.pavement + 0.5:
                left, right = sorted((side.sign * side.pavement, side.sign * outer))
                canvas.lay(band(left, right, start, far), grass, Label.VEGETATION, texture=0.35)


def _draw_kerbs(canvas: Canvas, street: Street, asphalt: Array, slabs: Array) -> None:
    for side in street.sides:
        for near, far in street.open_spans():
            for inner, outer, colour, label in (
                (side.kerb - 0.28, side.kerb, asphalt * 0.72, Label.ROAD),
                (side.kerb, side.kerb + 0.17, slabs * 1.35, Label.PAVEMENT),
            ):
                left, right = sorted((side.sign * inner, side.sign * outer))
                canvas.lay(band(left, right, near, far), colour, label)


def _draw_markings(canvas: Canvas, street: Street, paint: Array, rng: np.random.Generator) -> None:
    keep_out = [*street.junctions, *((z - 2.6, z + 2.6) for z in street.crossings)]
    spans = between(keep_out, NEAR, min(street.end, 140))
    divider = str(rng.choice(["dashed", "solid", "double"], p=(0.6, 0.25, 0.15)))
    lines = {"dashed": (), "solid": (0.0,), "double": (-0.13, 0.13)}[divider]
    between_lanes = [lane.x - np.sign(lane.x) * street.lane_width / 2 for lane in street.lanes if lane.x]
    for near, far in spans:
        for shift in lines:
            x = street.middle + shift
            canvas.lay(band(x - 0.06, x + 0.06, near, far), paint, Label.ROAD)
        starts = np.arange(near + 1.5, far - 3, 7.5)
        for x in between_lanes:
            if not lines or abs(x - street.middle) > 0.1:
                canvas.lay(floors(x - 0.07, x + 0.07, starts, starts + 3), paint, Label.ROAD)
    for side in street.sides:
        x = side.sign * (side.kerb - (2.1 if side.parking else 0.45))
        for near, far in spans:
            bays = np.arange(near, far, 6.0) if side.parking else np.zeros(0)
            canvas.lay(band(x - 0.05, x + 0.05, near, far), paint * 0.9, Label.ROAD)
            ends = np.sort([x, side.sign * side.kerb])
            canvas.lay(floors(ends[0], ends[1], bays, bays + 0.1), paint * 0.9, Label.ROAD)
    _draw_zebras(canvas, street, srgb(*_PAINT[0]) * rng.uniform(0.7, 1.0))


def _draw_zebras(canvas: Canvas, street: Street, paint: Array) -> None:
    left, right = sorted(side.sign * side.kerb for side in street.sides)
    stripes = np.arange(left + 0.3, right - 0.5, 1.05)
    for z in street.crossings:
        canvas.lay(floors(stripes, stripes + 0.52, z - 1.7, z + 1.7), paint, Label.ROAD)
        ours = sorted((street.middle, street.lanes[0].x + (street.lanes[0].x - street.middle)))
        canvas.lay(floors(ours[0], ours[1], z - 3.1, z - 2.7), paint, Label.ROAD)


def _draw_covers(canvas: Canvas, street: Street, asphalt: Array, rng: np.random.Generator) -> None:
    """Manhole covers and repaired trenches."""
    left, right = sorted(side.sign * side.kerb for side in street.sides)
    for _ in range(int(rng.integers(0, 5))):
        x, z = rng.uniform(left + 0.6, right - 0.6), rng.uniform(5, 40)
        cover = disc(np.array([x, 0, z]), 0.33, 0.33)
        canvas.lay(cover[None], asphalt * rng.uniform(0.35, 0.7), Label.ROAD)
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(left, right - 1.0), rng.uniform(4, FAR / 2)
        trench = floors(x, x + rng.uniform(0.4, 1.2), z, z + rng.uniform(2, 12))
        canvas.lay(trench, asphalt * rng.uniform(0.6, 0.9), Label.ROAD)
