"""Renders a street scene: image, exact label and coarse label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streetscenes.buildings import draw_skyline, place_buildings
from streetscenes.camera import NEAR, Camera
from streetscenes.canvas import UP, Canvas
from streetscenes.cars import place_cars
from streetscenes.coarse import coarse_label
from streetscenes.furniture import place_furniture
from streetscenes.greenery import place_greenery
from streetscenes.ground import draw_ground
from streetscenes.labels import Label
from streetscenes.light import mix, srgb
from streetscenes.people import place_people
from streetscenes.shading import expose, sample_wear
from streetscenes.street import sample_street
from streetscenes.weather import sample_light


@dataclass(frozen=True)
class Scene:
    image: npt.NDArray[np.uint8]  # (H, W, 3) RGB
    fine: npt.NDArray[np.uint8]  # (H, W) exact train ids, 255 = ignore
    coarse: npt.NDArray[np.uint8]  # (H, W) coarse train ids, 255 = ignore


class Item(Protocol):
    @property
    def depth(self) -> float: ...

    def draw(self, canvas: Canvas, rng: np.random.Generator) -> None: ...


def render(seed: int, index: int, *, size: tuple[int, int]) -> Scene:
    """Scene `index` of the series `seed`, `size` = (height, width) in pixels.

    The layout is sampled in metres and does not depend on the size: all sizes of one aspect ratio show the same scene.
    The same arguments give the same bytes.
    """
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    camera, light = _sample_camera(rng, size), sample_light(rng)
    canvas = Canvas(camera, light)
    street, wear = sample_street(rng), sample_wear(rng)
    draw_skyline(canvas, rng)
    draw_ground(canvas, street, rng)
    items: list[Item] = [
        *place_buildings(street, rng),
        *place_greenery(street, rng),
        *place_furniture(street, rng),
        *place_cars(street, rng),
        *place_people(street, rng),
    ]
    for item in sorted(items, key=lambda item: -item.depth):
        item.draw(canvas, rng)
    _draw_bonnet(canvas, rng)
    drawing = canvas.finish()
    fine = drawing.labels()
    return Scene(expose(drawing, camera, light, wear, rng), fine, coarse_label(fine, seed=index))


def _sample_camera(rng: np.random.Generator, size: tuple[int, int]) -> Camera:
    return Camera(
        height=float(rng.uniform(1.3, 2.0)),
        focal=float(rng.uniform(0.85, 1.2)),
        horizon=float(rng.uniform(0.4, 0.52)),
        pan=float(rng.uniform(-0.25, 0.25)),
        bend=float(rng.normal(0, 0.0007)),
        size=size,
    )


def _draw_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the bonnet of the camera's car at the lower edge, with the reflected sky."""
    top, x = 1 - rng.uniform(0.02, 0.055), np.linspace(-0.05, 1.05, 23)
    paint = srgb(*rng.choice([(24, 26, 30), (90, 94, 98), (190, 192, 194), (34, 50, 84)]))
    arch = top + 0.05 * (2 * x - 1) ** 4
    for inset, colour in ((0.0, paint * 0.5), (0.012, mix(paint, canvas.light.horizon, 0.2))):
        edge = np.stack([x, arch + inset], axis=1)
        outline = np.concatenate([edge, [[1.05, 1.2], [-0.05, 1.2]]])
        canvas.fill(canvas.camera.unproject(outline, 1.1 * NEAR)[None], colour, Label.IGNORE, normal=UP)
