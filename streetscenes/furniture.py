"""Poles and signs: lamp posts, traffic lights, road signs, bollards."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from streetscenes.camera import Array
from streetscenes.canvas import Canvas
from streetscenes.labels import Label
from streetscenes.light import srgb
from streetscenes.plates import PLATES
from streetscenes.shapes import BOX, RISE, circle, cutout, limb, shadow
from streetscenes.street import Side, Street

_METAL = ((130, 134, 136), (84, 88, 90), (48, 54, 52), (164, 166, 164), (60, 70, 62))


@dataclass(frozen=True)
class Post:
    """A pole with its lamp, signs or traffic light."""

    x: float
    depth: float
    height: float
    thick: float
    metal: Array
    arm: float = 0.0  # length of the lamp's arm in metres, signed
    plates: tuple[tuple[str, float, float], ...] = ()  # (kind, radius, height of the middle) in metres
    back: bool = False  # the plates face the other way
    signal: int = -1  # which lamp of a traffic light is on: 0 red, 1 yellow, 2 green

    def draw(self, canvas: Canvas, rng: np.random.Generator) -> None:
        foot = np.array([self.x, 0.0, self.depth])
        canvas.cast(shadow(foot, canvas.light.towards, self.height, self.thick), 0.8)
        for offset, width, tone in ((0.0, 1.0, 0.75), (-0.2, 0.45, 1.5)):
            stroke = limb(
                (offset * self.thick, 0),
                (offset * self.thick, self.height),
                self.thick * width,
                self.thick * width * 0.75,
            )
            canvas.fill(cutout(foot, stroke), self.metal * tone, Label.POLE)
        if self.height > 2:
            canvas.fill(
                cutout(foot, limb((0, 0), (0, 0.9), self.thick * 1.5, self.thick * 1.5)), self.metal, Label.POLE
            )
        if self.arm:
            self._draw_lamp(canvas, foot, rng)
        for kind, radius, high in self.plates:
            self._draw_plate(canvas, foot + np.array([0, high, -0.06]), kind, radius)
        if self.signal >= 0:
            self._draw_signal(canvas, foot + np.array([0, self.height - 0.45, -0.1]))

    def _draw_lamp(self, canvas: Canvas, foot: Array, rng: np.random.Generator) -> None:
        bend = [(0.0, self.height), (self.arm * 0.25, self.height + 0.45), (self.arm, self.height + 0.6)]
        for start, end in pairwise(bend):
            canvas.fill(
                cutout(foot, limb(start, end, self.thick * 0.8, self.thick * 0.7)), self.metal * 0.9, Label.POLE
            )
        head = limb((self.arm, self.height + 0.62), (self.arm * 1.45, self.height + 0.66), 0.24, 0.14)
        canvas.fill(cutout(foot, head), self.metal * 0.8, Label.POLE)
        if rng.random() < canvas.light.lamps * 1.5:
            glass = limb((self.arm * 1.03, self.height + 0.53), (self.arm * 1.4, self.height + 0.58), 0.1, 0.08)
            canvas.fill(cutout(foot, glass), srgb(255, 226, 170) * 5, Label.POLE, normal=None)

    def _draw_plate(self, canvas: Canvas, middle: Array, kind: str, radius: float) -> None:
        layers = PLATES[kind]
        if self.back:
            canvas.fill(cutout(middle, layers[0][0] * radius), srgb(120, 122, 124), Label.SIGN)
            return
        for outline, colour in layers:
            canvas.fill(cutout(middle, outline * radius), colour, Label.SIGN)

    def _draw_signal(self, canvas: Canvas, middle: Array) -> None:
        canvas.fill(cutout(middle, BOX * [0.24, 0.6]), srgb(210, 208, 196), Label.SIGN)
        canvas.fill(cutout(middle, BOX * [0.2, 0.56]), srgb(26, 30, 28), Label.SIGN)
        colours = (srgb(255, 50, 40), srgb(255, 190, 40), srgb(60, 240, 150))
        for i, colour in enumerate(colours):
            lamp = cutout(middle + RISE * (0.36 - 0.36 * i), circle(10) * 0.14)
            on = i == self.signal
            canvas.fill(lamp, colour * (2.2 if on else 0.08), Label.SIGN, normal=None)


def place_furniture(street: Street, rng: np.random.Generator) -> list[Post]:
    metal = srgb(*rng.choice(_METAL)) * rng.uniform(0.8, 1.2)
    posts = _lamps(street, metal, rng)
    for side in street.sides:
        posts += _signs(street, side, rng)
        if rng.random() < 0.25:
            posts += _bollards(street, side, metal, rng)
    return posts + [
        post for low, _ in street.junctions if rng.random() < 0.55 for post in _signals(street, low, metal, rng)
    ]


def _lamps(street: Street, metal: Array, rng: np.random.Generator) -> list[Post]:
    spacing, height, thick = rng.uniform(16, 30), float(rng.uniform(5.0, 8.5)), float(rng.uniform(0.14, 0.22))
    both, posts = rng.random() < 0.5, []
    for i, z in enumerate(np.arange(rng.uniform(6, 18), min(street.end, 130), spacing)):
        for side in street.sides:
            if both or (i % 2 == 0) == (side.sign > 0):
                arm = -side.sign * height * 0.17
                posts.append(Post(side.sign * (side.kerb + 0.5), float(z), height, thick, metal, arm=arm))
    return posts


def _signs(street: Street, side: Side, rng: np.random.Generator) -> list[Post]:
    """Signs on the near side face the camera; on the other side most show their backs."""
    posts = []
    for _ in range(int(rng.poisson(2.2))):
        z = float(6 * np.exp(rng.uniform(0.1, 1.7)))
        kinds = list(PLATES)
        kind, radius = str(rng.choice(kinds)), float(rng.uniform(0.36, 0.5))
        plates = [(kind, radius, 2.55)]
        if rng.random() < 0.3:
            plates.append((str(rng.choice(kinds[:7])), radius * 0.9, 2.55 - 1.95 * radius))
        back = side is not street.sides[0] and rng.random() < 0.6
        x = side.sign * (side.kerb + rng.uniform(0.3, 0.7))
        posts.append(Post(x, z, 2.55 + radius * 0.8, 0.08, srgb(140, 142, 144), plates=tuple(plates), back=bool(back)))
    return [post for post in posts if post.depth < street.end]


def _bollards(street: Street, side: Side, metal: Array, rng: np.random.Generator) -> list[Post]:
    x, spacing = side.sign * (side.kerb + 0.35), float(rng.uniform(1.5, 2.5))
    spans = street.open_spans(float(rng.uniform(5, 12)))[:1]
    return [
        Post(x, float(z), 0.95, 0.13, metal * 0.7)
        for near, far in spans
        for z in np.arange(near, min(far, near + 22), spacing)
    ]


def _signals(street: Street, z: float, metal: Array, rng: np.random.Generator) -> list[Post]:
    state = int(rng.choice([0, 1, 2], p=[0.45, 0.1, 0.45]))
    return [Post(side.sign * (side.kerb + 0.4), z - 1.2, 3.4, 0.13, metal, signal=state) for side in street.sides]
