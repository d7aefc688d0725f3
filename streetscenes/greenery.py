"""Trees, hedges and bushes, drawn as clumps of leaves, from dark ones behind to sunlit ones in front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetscenes.camera import Array
from streetscenes.canvas import FRONT, Canvas
from streetscenes.labels import Label
from streetscenes.light import srgb
from streetscenes.shapes import RISE, circle, cutout, disc, limb, shadow
from streetscenes.street import Side, Street

_LEAVES = ((68, 90, 44), (84, 104, 52), (56, 82, 50), (98, 110, 58), (48, 70, 44), (140, 114, 52), (144, 90, 48))
_LEAF_FREQUENCIES = (0.24, 0.22, 0.18, 0.14, 0.12, 0.06, 0.04)
_BARK = ((70, 58, 48), (92, 82, 72), (52, 46, 42), (120, 112, 100))


@dataclass(frozen=True)
class Tree:
    x: float
    depth: float
    height: float
    radius: float
    leaves: Array
    cone: bool

    def draw(self, canvas: Canvas, rng: np.random.Generator) -> None:
        foot = np.array([self.x, 0.0, self.depth])
        crown = foot + RISE * (self.height - self.radius * 1.1)
        _shade_below(canvas, foot, self.height, self.radius)
        canvas.cast(shadow(foot, canvas.light.towards, self.height - self.radius, 0.06 * self.height), 0.85)
        bark = srgb(*rng.choice(_BARK))
        thick, lean = 0.05 * self.height, float(rng.uniform(-0.3, 0.3))
        top = (lean, self.height - self.radius)
        canvas.fill(cutout(foot, limb((0, 0), top, thick, thick * 0.6)), bark, Label.VEGETATION, texture=0.3)
        light_side = limb((-0.2 * thick, 0), (lean - 0.15 * thick, top[1]), thick * 0.4, thick * 0.2)
        canvas.fill(cutout(foot, light_side), bark * 1.5, Label.VEGETATION, texture=0.3)
        if self.cone:
            _draw_cone(canvas, foot, self.height, self.radius * 0.7, self.leaves, rng)
        else:
            draw_leaves(
                canvas,
                crown,
                (self.radius, self.radius * rng.uniform(0.9, 1.25)),
                self.leaves,
                rng,
                number=80 if self.depth < 40 else 36,
            )


@dataclass(frozen=True)
class Hedge:
    x: float
    depth: float
    width: float
    height: float
    leaves: Array

    def draw(self, canvas: Canvas, rng: np.random.Generator) -> None:
        middle = np.array([self.x, self.height * 0.45, self.depth])
        _shade_below(canvas, middle * [1, 0, 1], 0.0, self.width * 0.6)
        draw_leaves(
            canvas, middle, (self.width / 2, self.height * 0.55), self.leaves, rng, number=30 if self.depth < 40 else 14
        )


def draw_leaves(
    canvas: Canvas, middle: Array, radii: tuple[float, float], leaves: Array, rng: np.random.Generator, *, number: int
) -> None:
    """Fill an ellipse with irregular clumps, the bright ones towards the light."""
    angle, reach = rng.uniform(0, 2 * np.pi, number), np.sqrt(rng.random(number))
    spots = np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None]  # (N, 2) in the unit circle
    order = np.linspace(0, 1, number)  # from the dark back to the bright front
    towards = canvas.light.towards[:2]
    spots = spots * (0.92 - 0.22 * order[:, None]) + 0.22 * order[:, None] * towards
    size = rng.uniform(0.2, 0.34, number) * (1.15 - 0.75 * order)
    corners = circle(11)[None] * rng.uniform(0.65, 1.25, (number, 11, 1)) * size[:, None, None] + spots[:, None]
    points = np.concatenate([corners * radii, np.zeros((number, 11, 1))], axis=2) + middle
    bright = 0.45 + 0.75 * order + 0.3 * (spots @ towards) + rng.uniform(-0.15, 0.15, number)
    hues = rng.uniform(0.85, 1.15, (number, 3))
    normal = np.concatenate([spots * 0.7, -np.ones((number, 1)) * 0.6], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    canvas.fill(points, leaves * bright[:, None] * hues, Label.VEGETATION, normal=normal, texture=0.35)


def _draw_cone(
    canvas: Canvas, foot: Array, height: float, radius: float, leaves: Array, rng: np.random.Generator
) -> None:
    tiers = 9
    for tier in range(tiers):
        position = tier / tiers
        low, wide = height * (0.1 + 0.85 * position), radius * (1.05 - position)
        jag = np.linspace(-wide, wide, 9)
        lower = np.stack([jag, low + rng.uniform(-0.06, 0.06, 9) * height], axis=1)
        outline = np.concatenate([lower, [[0, low + height * 0.25]]])
        colour = leaves * (0.55 + 0.5 * position) * rng.uniform(0.8, 1.2)
        canvas.fill(cutout(foot, outline), colour, Label.VEGETATION, normal=FRONT, texture=0.35)


def _shade_below(canvas: Canvas, foot: Array, height: float, radius: float) -> None:
    towards = canvas.light.towards
    middle = foot - np.array([towards[0], 0, towards[2]]) * max(height - radius, 0) / towards[1]
    canvas.cast(disc(middle, radius, radius * 1.2), 0.85)


def place_greenery(street: Street, rng: np.random.Generator) -> list[Tree | Hedge]:
    leaves = _LEAVES[int(rng.choice(len(_LEAVES), p=_LEAF_FREQUENCIES))]
    placed: list[Tree | Hedge] = []
    for side in street.sides:
        if side.trees:
            placed += _row(street, side, leaves, rng)
        for near, far, built in side.blocks:
            placed += _hedges(side, near, far, leaves, rng) if built else _grove(side, near, far, leaves, rng)
    return placed


def _leaf_colour(leaves: tuple[int, int, int], rng: np.random.Generator) -> Array:
    return srgb(*leaves) * rng.uniform(0.7, 1.3) * rng.uniform(0.88, 1.12, 3)


def _row(street: Street, side: Side, leaves: tuple[int, int, int], rng: np.random.Generator) -> list[Tree | Hedge]:
    """Trees along the kerb, all of one age."""
    spacing, age = float(rng.uniform(8, 15)), float(rng.uniform(0.65, 1.15))
    cone = bool(rng.random() < 0.08)
    row: list[Tree | Hedge] = []
    for near, far in street.open_spans(float(rng.uniform(5, 12))):
        for z in np.arange(near, min(far, 120), spacing):
            if rng.random() < 0.85:
                height, x = 6.5 * age * rng.uniform(0.85, 1.15), side.sign * (side.kerb + 0.9)
                row.append(Tree(x, float(z), height, height * rng.uniform(0.26, 0.36), _leaf_colour(leaves, rng), cone))
    return row


def _grove(
    side: Side, near: float, far: float, leaves: tuple[int, int, int], rng: np.random.Generator
) -> list[Tree | Hedge]:
    """Trees and bushes instead of a house."""
    grove: list[Tree | Hedge] = []
    for _ in range(int(rng.integers(3, 7))):
        x, z = side.sign * (side.facade + rng.uniform(0.8, 12)), float(rng.uniform(max(near, 4), max(far, 5)))
        height = float(rng.uniform(5, 11))
        cone = bool(rng.random() < 0.2)
        grove.append(Tree(x, z, height, height * rng.uniform(0.28, 0.4), _leaf_colour(leaves, rng), cone))
    for _ in range(int(rng.integers(2, 6))):
        x, z = side.sign * (side.facade + rng.uniform(0.3, 4)), float(rng.uniform(max(near, 4), max(far, 5)))
        grove.append(Hedge(x, z, float(rng.uniform(1.5, 4)), float(rng.uniform(0.8, 2)), _leaf_colour(leaves, rng)))
    return grove


def _hedges(
    side: Side, near: float, far: float, leaves: tuple[int, int, int], rng: np.random.Generator
) -> list[Tree | Hedge]:
    """A hedge in front of a house that has a garden."""
    if side.facade - side.pavement < 1.5 or rng.random() < 0.35:
        return []
    tall, colour = float(rng.uniform(0.7, 1.7)), _leaf_colour(leaves, rng)
    x = side.sign * (side.pavement + 0.6)
    spots = np.arange(max(near, 4), far - 2.5, 2.0).tolist()
    return [Hedge(x, z, 2.6, tall, colour * rng.uniform(0.85, 1.15)) for z in spots]
