"""People on pavements and crossings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streetscenes.camera import Array
from streetscenes.canvas import Canvas
from streetscenes.labels import Label
from streetscenes.light import srgb
from streetscenes.shapes import circle, cutout, disc, limb, shadow
from streetscenes.street import Street

_SKIN = ((232, 190, 160), (200, 150, 116), (150, 102, 72), (96, 66, 48))
_HAIR = ((30, 24, 22), (70, 48, 34), (140, 106, 66), (150, 148, 146), (60, 58, 60))
_CLOTHES = (
    (28, 30, 36), (52, 58, 76), (150, 30, 36), (36, 66, 120), (206, 204, 198), (92, 96, 84),
    (196, 150, 62), (70, 44, 70), (40, 92, 92), (120, 84, 60), (220, 120, 60), (110, 112, 116),
)  # fmt: skip
_SHOES = srgb(34, 30, 30)
_BAG = np.array([(0.07, 0.42), (0.2, 0.42), (0.2, 0.57), (0.07, 0.57)])

Put = Callable[[Array, Array], None]  # (outline for a height of 1, colour)


@dataclass(frozen=True)
class Person:
    x: float
    depth: float
    height: float
    stride: float  # distance between the feet, -1..1
    top: Array
    trousers: Array
    skin: Array
    hair: Array
    coat: float  # lower end of the top, fraction of the person's height
    bag: bool

    def draw(self, canvas: Canvas, rng: np.random.Generator) -> None:
        foot, towards = np.array([self.x, 0.0, self.depth]), canvas.light.towards
        canvas.cast(shadow(foot, towards, self.height, 0.32), 0.9)
        canvas.touch(disc(foot, 0.3, 0.2), 0.5)

        def put(outline: Array, colour: Array) -> None:
            canvas.fill(cutout(foot, outline * self.height), colour, Label.PERSON, texture=0.06)

        swing, dark = 0.11 * self.stride, -np.sign(towards[0])
        self._draw_legs(put, swing)
        put(_torso(self.coat), self.top)
        put(_half_torso(self.coat) * np.array([dark, 1]), self.top * 0.72)
        if self.bag:
            put(_BAG * np.array([dark, 1]), self.hair * 1.4)
        self._draw_arms(put, swing)
        put(limb((0, 0.82), (0, 0.9), 0.06, 0.06), self.skin * 0.8)
        put(circle(10) * np.array([0.055, 0.07]) + np.array([0, 0.925]), self.hair)
        put(circle(10) * np.array([0.046, 0.056]) + np.array([0.008, 0.912]), self.skin)

    def _draw_legs(self, put: Put, swing: float) -> None:
        for way, shade in ((-1, 0.65), (1, 1.0)):
            ankle = (0.035 * way + swing * way, 0.03)
            put(limb((0.04 * way, 0.5), ankle, 0.115, 0.07), self.trousers * shade)
            put(limb(ankle, (ankle[0] + 0.06, 0.012), 0.045, 0.035), _SHOES)

    def _draw_arms(self, put: Put, swing: float) -> None:
        for way in (-1, 1):
            hand = (0.15 * way + swing * 0.6, 0.46)
            put(limb((0.135 * way, 0.79), hand, 0.06, 0.045), self.top * (0.8 if way < 0 else 0.95))
            put(circle(6) * 0.024 + np.array(hand), self.skin)


def _half_torso(low: float) -> Array:
    """The right half of a torso, for a person of height 1 whose coat ends at `low`."""
    return np.array([(0.02, low), (0.105, low), (0.11, 0.62), (0.14, 0.79), (0.06, 0.845), (0.02, 0.845)])


def _torso(low: float) -> Array:
    half = _half_torso(low)[1:5]
    return np.concatenate([half, half[::-1] * np.array([-1, 1])])


def _sample(x: float, z: float, rng: np.random.Generator) -> Person:
    child = rng.random() < 0.1
    top, trousers = rng.choice(len(_CLOTHES), 2)
    return Person(
        x=x,
        depth=z,
        height=float(rng.uniform(1.05, 1.4) if child else rng.uniform(1.58, 1.92)),
        stride=float(rng.choice([-1, 1]) * rng.uniform(0.2, 1.0)),
        top=srgb(*_CLOTHES[int(top)]) * rng.uniform(0.8, 1.2),
        trousers=srgb(*_CLOTHES[int(trousers)]) * rng.uniform(0.6, 1.0),
        skin=srgb(*rng.choice(_SKIN)),
        hair=srgb(*rng.choice(_HAIR)),
        coat=float(rng.choice([0.46, 0.42, 0.3], p=[0.5, 0.3, 0.2])),
        bag=bool(rng.random() < 0.3),
    )


def place_people(street: Street, rng: np.random.Generator) -> list[Person]:
    people = []
    for side in street.sides:
        for _ in range(int(rng.poisson(3.2))):
            reach, z = rng.uniform(side.kerb + 0.6, side.pavement - 0.3), float(6 * np.exp(rng.uniform(0, 1.7)))
            people.append(_sample(side.sign * reach, z, rng))
            if rng.random() < 0.3:  # a companion
                people.append(_sample(side.sign * reach + rng.choice([-0.55, 0.55]), z + rng.uniform(-0.3, 0.3), rng))
    for crossing in street.crossings[:1]:
        for _ in range(int(rng.poisson(1.6))):
            low, high = sorted(side.sign * side.kerb for side in street.sides)
            people.append(_sample(float(rng.uniform(low, high)), max(crossing + rng.uniform(-1.2, 1.2), 4.0), rng))
    return [person for person in people if person.depth < street.end]
