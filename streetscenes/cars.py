"""Cars and vans: a side profile extruded to a body, with windows, wheels and lights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from streetscenes.camera import Array
from streetscenes.canvas import Canvas
from streetscenes.car_models import FREQUENCIES, MODELS, Model
from streetscenes.labels import Label
from streetscenes.light import mix, srgb
from streetscenes.shapes import circle
from streetscenes.street import Lane, Side, Street

_PAINTS = (
    (232, 232, 230), (186, 190, 194), (120, 124, 128), (58, 60, 64), (24, 25, 28), (150, 26, 28),
    (34, 62, 120), (70, 108, 150), (40, 74, 56), (196, 160, 60), (118, 80, 56), (168, 160, 140),
)  # fmt: skip
_PAINT_FREQUENCIES = (0.17, 0.14, 0.13, 0.1, 0.13, 0.09, 0.07, 0.05, 0.03, 0.03, 0.03, 0.03)
_GLASS, _TYRE, _RIM = srgb(30, 36, 44), srgb(22, 22, 23), srgb(150, 152, 156)
_PLATE, _TAIL, _HEAD = srgb(222, 216, 190), srgb(150, 14, 18), srgb(216, 220, 222)
_BUMPER_AND_PLATE = np.array([_TYRE * 2, _PLATE])
_RING, _WHEEL_RADII = circle(14), np.array([0.38, 0.33, 0.22, 0.07])  # arch, tyre, rim, hub
_WHEEL_COLOURS = np.array([_TYRE * 0.5, _TYRE, _RIM, _TYRE])
_FOOTPRINT = np.array([(-0.5, 0, -1), (0.5, 0, -1), (0.5, 0, 1), (-0.5, 0, 1)])
_AHEAD, _RIGHT = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])

Box = tuple[float, float, float, float]  # left, right (fractions of half the width), low, high (of the height)


@dataclass(frozen=True)
class Car:
    x: float
    depth: float  # z of its middle
    yaw: float  # 0: it drives away from the camera; pi: towards it
    model: Model
    paint: Array
    moving: bool

    def draw(self, canvas: Canvas, rng: np.random.Generator) -> None:
        bright = self.moving and bool(rng.random() < canvas.light.lamps * 2)
        brakes = self.moving and bool(rng.random() < 0.3)
        end = -1.0 if np.cos(self.yaw) > 0 else 1.0  # the end towards the camera
        eye = (canvas.camera.eye(self.depth) - [self.x, 0, self.depth]) @ self._turn.T  # in the car's own axes
        self._shade(canvas)
        # the wheels below the bumper
        self._put(canvas, _across(end * 0.38, ((-0.95, -0.68, 0, 0.3), (0.68, 0.95, 0, 0.3))), _TYRE, _AHEAD * end)
        self._draw_shell(canvas, eye)
        if abs(eye[2]) > self.model.width / 2:
            self._draw_side(canvas, float(np.sign(eye[2])))
        if eye[0] * end > self.model.length / 2:
            (self._draw_rear if end < 0 else self._draw_nose)(canvas, bright or brakes)

    @cached_property
    def _turn(self) -> Array:
        """Rows: the car's axes (along, up, right) in the world."""
        sine, cosine = np.sin(self.yaw), np.cos(self.yaw)
        return np.array([[sine, 0, cosine], [0, 1, 0], [cosine, 0, -sine]])

    @property
    def _size(self) -> Array:
        return np.array([self.model.length, self.model.height, self.model.width / 2])

    def _place(self, local: Array) -> Array:
        """World points (..., 3) of local ones, in fractions of length, height and half the width."""
        return np.asarray((local * self._size) @ self._turn + np.array([self.x, 0, self.depth]))

    def _put(self, canvas: Canvas, local: Array, colour: Array, facing: Array | None) -> None:
        """Polygons (N, M, 3) with the normal `facing`, (3,) or (N, 3) in the car's axes, or emitting light."""
        normal = None if facing is None else facing @ self._turn
        canvas.fill(self._place(local), colour, Label.CAR, normal=normal)

    def _shade(self, canvas: Canvas) -> None:
        foot = self._place(_FOOTPRINT)
        canvas.cast(foot - canvas.light.towards * [0.9, 0, 0.9] / canvas.light.towards[1])
        canvas.touch(self._place(_FOOTPRINT * 1.05), 0.55)
        canvas.touch(self._place(_FOOTPRINT * 0.97), 0.85)

    def _draw_shell(self, canvas: Canvas, eye: Array) -> None:
        """Bonnet, windows, roof and ends, which connect the two sides, from far to near."""
        right, left = _profile(self.model, 1.0), _profile(self.model, -1.0)
        strips = np.stack([left[:-1], right[:-1], right[1:], left[1:]], axis=1)  # (edges, 4, 3)
        steps = (right[1:] - right[:-1]) * self._size
        normals = np.stack([-steps[:, 1], steps[:, 0], 0 * steps[:, 0]], axis=1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        middles = strips.mean(axis=1)
        seen = np.flatnonzero(np.sum(normals * (eye - middles * self._size), axis=1) > 0)
        order = seen[np.argsort(-self._place(middles[seen])[:, 2], kind="stable")]
        self._put(canvas, strips[order], self.paint, normals[order])
        panes = np.intersect1d(seen, self.model.panes)
        glass = middles[panes, None] + (strips[panes] - middles[panes, None]) * 0.87
        self._put(canvas, glass, mix(_GLASS, canvas.light.horizon, 0.2), normals[panes])

    def _draw_side(self, canvas: Canvas, right: float) -> None:
        model, facing = self.model, _RIGHT * right
        self._put(canvas, _profile(model, right)[None], self.paint, facing)
        low, belt = model.profile[0][1], model.belt
        quads = [  # rear and front below, rear and front above, low, high, colour
            (-0.49, 0.49, -0.49, 0.49, low, 0.36, self.paint * 0.72),
            (-0.48, 0.45, -0.48, 0.45, 0.56, 0.585, self.paint * 1.3),
        ]
        for window in model.windows:
            quads.append((*window, belt, 0.93, mix(_GLASS, canvas.light.horizon, 0.1)))
            door = window[1] + 0.006
            quads.append((window[1], door, window[1], door, low + 0.06, belt, self.paint * 0.45))
        corners = [[(r, b), (f, b), (ft, t), (rt, t)] for r, f, rt, ft, b, t, _ in quads]
        self._put(canvas, _lean(model, np.array(corners), right), np.array([quad[-1] for quad in quads]), facing)
        radius = _WHEEL_RADII[:, None, None] * _RING  # (rings, M, 2) in metres
        for axle in (-0.31, 0.32):
            rings = (radius + np.array([0, 0.33])) / self._size[:2] + np.array([axle, 0])
            self._put(canvas, _lean(model, rings, right), _WHEEL_COLOURS, facing)

    def _draw_rear(self, canvas: Canvas, lamps: bool) -> None:
        low, belt = self.model.profile[0][1], self.model.belt
        plate = (-0.28, 0.28, belt - 0.25, belt - 0.17)
        self._put(canvas, _across(-0.502, ((-0.98, 0.98, low, low + 0.14), plate)), _BUMPER_AND_PLATE, -_AHEAD)
        red, white = ((belt - 0.2, belt - 0.06), (belt - 0.19, belt - 0.15))
        boxes = ((-0.97, -0.62, *red), (0.62, 0.97, *red), (-0.89, -0.7, *white), (0.7, 0.89, *white))
        colours = np.array([_TAIL, _TAIL, _PLATE, _PLATE]) * (3.0 if lamps else 1.0)
        self._put(canvas, _across(-0.503, boxes), colours, None if lamps else -_AHEAD)

    def _draw_nose(self, canvas: Canvas, lamps: bool) -> None:
        low = self.model.profile[-1][1]
        grille, plate = (-0.6, 0.6, low + 0.12, low + 0.24), (-0.28, 0.28, low + 0.05, low + 0.12)
        boxes = ((-0.98, 0.98, low, low + 0.08), grille, plate)
        self._put(canvas, _across(0.502, boxes), _BUMPER_AND_PLATE[[0, 0, 1]], _AHEAD)
        lights = ((-0.95, -0.6, low + 0.24, low + 0.34), (0.6, 0.95, low + 0.24, low + 0.34))
        self._put(canvas, _across(0.503, lights), _HEAD * (4 if lamps else 1), None if lamps else _AHEAD)


def _across(along: float, boxes: tuple[Box, ...]) -> Array:
    """(N, 4, 3) rectangles across the car."""
    return np.array([[(along, b, x0), (along, b, x1), (along, t, x1), (along, t, x0)] for x0, x1, b, t in boxes])


def _lean(model: Model, flat: Array, right: float) -> Array:
    """Points (..., 3) of a side from (..., 2) along and up: the cabin leans inwards."""
    inwards = 0.22 * np.clip((flat[..., 1] - model.belt) / (1 - model.belt), 0, 1)
    return np.concatenate([flat, right * (1 - inwards)[..., None]], axis=-1)


def _profile(model: Model, right: float) -> Array:
    return _lean(model, np.array(model.profile), right)


def _sample(x: float, z: float, yaw: float, rng: np.random.Generator, *, moving: bool) -> Car:
    model = MODELS[str(rng.choice(list(FREQUENCIES), p=list(FREQUENCIES.values())))]
    paint = srgb(*_PAINTS[int(rng.choice(len(_PAINTS), p=_PAINT_FREQUENCIES))]) * rng.uniform(0.85, 1.15)
    return Car(x, z, yaw, model, np.clip(paint, 0.008, 0.85), moving)


def place_cars(street: Street, rng: np.random.Generator) -> list[Car]:
    cars = [car for lane in street.lanes for car in _driving(street, lane, rng)]
    cars += [car for side in street.sides if side.parking for car in _parked(street, side, rng)]
    for low, high in street.junctions[:1]:
        if rng.random() < 0.45:  # a crossing car
            yaw = float(rng.choice([-1, 1])) * np.pi / 2
            cars.append(
                _sample(float(rng.uniform(-9, 9)), (low + high) / 2 - 1.6 * np.sign(yaw), yaw, rng, moving=True)
            )
    return cars


def _driving(street: Street, lane: Lane, rng: np.random.Generator) -> list[Car]:
    cars, z = [], float(rng.uniform(9, 40) if lane.ours else rng.uniform(6, 40))
    while z < min(street.end - 12, 110):
        yaw = (0.0 if lane.ours else np.pi) + rng.normal(0, 0.02)
        if all(abs(z - crossing) > 5 for crossing in street.crossings):
            cars.append(_sample(lane.x + rng.normal(0, 0.15), z, yaw, rng, moving=True))
        z += float(rng.uniform(8, 40))
    return cars


def _parked(street: Street, side: Side, rng: np.random.Generator) -> list[Car]:
    cars, full = [], rng.uniform(0.3, 0.85)
    yaw = 0.0 if side is street.sides[0] else np.pi
    for near, far in street.open_spans(float(rng.uniform(3.5, 8))):
        for z in np.arange(near, min(far, 100) - 3, 5.8):
            if rng.random() < full and all(abs(z - crossing) > 5 for crossing in street.crossings):
                x, at = side.sign * (side.kerb - 1.1), float(z) + rng.normal(0, 0.2)
                cars.append(_sample(x, at, yaw + rng.normal(0, 0.02), rng, moving=False))
    return cars
