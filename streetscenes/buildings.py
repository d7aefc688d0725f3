"""Buildings along the street and at its end, and the skyline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetscenes.camera import NEAR, Array
from streetscenes.canvas import FRONT, Canvas
from streetscenes.facades import Front, Plane, draw_front, sample_front
from streetscenes.labels import Label
from streetscenes.light import srgb
from streetscenes.shapes import RISE, panels
from streetscenes.street import FAR, Side, Street

_TILES = ((132, 70, 54), (110, 62, 52), (84, 84, 90), (70, 72, 80), (100, 88, 76))

_LONGEST_SHADOW = 9.0  # metres; longer shadows would darken the whole street


@dataclass(frozen=True)
class Building:
    front: Front
    main: Plane  # towards the street
    end: Plane | None  # towards the camera
    exposed: bool  # no other building adjoins that end
    roof: Array | None  # colour of its tiles
    depth: float  # z of its far end
    deep: float = 11.0  # metres from the front to the back

    def draw(self, canvas: Canvas, rng: np.random.Generator) -> None:
        _cast_shadow(canvas, self.main, self.front.height)
        if self.roof is not None:
            self._draw_roof(canvas, self.roof)
        if self.end is not None and self.end.distance > NEAR:
            self._draw_end(canvas, self.end, rng)
        draw_front(canvas, self.main, self.front, rng)

    def _draw_end(self, canvas: Canvas, end: Plane, rng: np.random.Generator) -> None:
        if self.exposed:
            draw_front(canvas, end, self.front, rng, shops=False)
        else:
            wall = panels(end.origin, end.along, 0, end.width, 0, self.front.height)
            canvas.fill(wall, self.front.wall, Label.BUILDING, normal=end.normal, texture=self.front.roughness)

    def _draw_roof(self, canvas: Canvas, tiles: Array) -> None:
        main, high = self.main, self.front.height
        back, rise = -main.normal * self.deep / 2, RISE * self.deep * 0.3
        eaves = panels(main.origin - main.along * 0.3, main.along, 0, main.width + 0.6, high - 0.2, high)
        slope = eaves.copy()
        slope[:, 2:] += back + rise
        normal = (main.normal + 1.7 * RISE) / np.hypot(1, 1.7)
        if self.end is not None:
            across = self.end.along * self.end.width
            foot = self.end.origin + RISE * high
            gable = np.stack([foot, foot + across, foot + across / 2 + rise])[None]
            canvas.fill(gable, self.front.wall, Label.BUILDING, normal=FRONT, texture=self.front.roughness)
        canvas.fill(slope, tiles, Label.BUILDING, normal=normal, texture=0.12)
        left = main.width * np.array([0.2, 0.7])
        chimney = panels(main.origin + back, main.along, left, left + 0.8, high + rise[1] - 0.5, high + rise[1] + 1.1)
        canvas.fill(chimney, self.front.wall * 0.7, Label.BUILDING, normal=main.normal)


def _cast_shadow(canvas: Canvas, plane: Plane, height: float) -> None:
    towards = canvas.light.towards
    if plane.normal @ towards >= 0:
        return  # lit: the shadow falls behind it
    foot = panels(plane.origin, plane.along, 0, plane.width, 0, 0)[0]
    foot[:, 2] = np.maximum(foot[:, 2], NEAR + 0.1)
    foot[2:] -= towards * min(height / towards[1], _LONGEST_SHADOW) * [1, 0, 1]
    foot[:, 2] = np.maximum(foot[:, 2], NEAR + 0.1)
    canvas.cast(foot)


def place_buildings(street: Street, rng: np.random.Generator) -> list[Building]:
    placed = []
    for side in street.sides:
        built_up_to = -np.inf
        for near, far, built in side.blocks:
            if built:
                placed.append(_beside(street, side, near, far, near > built_up_to, rng))
                built_up_to = placed[-1].depth
    return [*placed, *(_across(street, rng) if street.end < FAR else [])]


def _roof(street: Street, rng: np.random.Generator) -> Array | None:
    return srgb(*rng.choice(_TILES)) * rng.uniform(0.8, 1.2) if rng.random() < street.district.pitched else None


def _beside(street: Street, side: Side, near: float, far: float, exposed: bool, rng: np.random.Generator) -> Building:
    district = street.district
    front = sample_front(rng, district.storeys, district.shops)
    x = side.sign * (side.facade + float(rng.choice([0.0, 0.0, rng.uniform(0, 1.5)])))
    gap = float(rng.uniform(0.0, 3.0)) if district.garden[1] > 2 else 0.0
    main = Plane(np.array([x, 0, near]), np.array([0.0, 0, 1]), np.array([-float(side.sign), 0, 0]), far - near - gap)
    end = Plane(np.array([x, 0, near]), np.array([float(side.sign), 0, 0]), FRONT, Building.deep)
    return Building(front, main, end, exposed, _roof(street, rng), far - gap)


def _across(street: Street, rng: np.random.Generator) -> list[Building]:
    """The row of houses at the end of a street."""
    row, x = [], -70.0
    while x < 70:
        width = float(rng.uniform(*street.district.frontage))
        plane = Plane(np.array([x, 0, street.end + 3]), np.array([1.0, 0, 0]), FRONT, width)
        front = sample_front(rng, street.district.storeys, street.district.shops)
        row.append(Building(front, plane, None, False, _roof(street, rng), street.end + 3))
        x += width
    return row


def draw_skyline(canvas: Canvas, rng: np.random.Generator) -> None:
    """Distant roofs that fill every gap; drawn first."""
    count = 40
    left = np.linspace(-300, 290, count) + rng.uniform(-4, 4, count)
    tall = rng.uniform(4, 16, count) + 14 * (rng.random(count) < 0.12)
    shape = panels(np.array([0, 0, 260.0]), np.array([1.0, 0, 0]), left, left + rng.uniform(12, 26, count), 0, tall)
    grey = srgb(128, 124, 120) * rng.uniform(0.5, 1.3, (count, 1))
    canvas.fill(shape, grey, Label.BUILDING, normal=FRONT)
