"""A canvas that draws polygons by number.

A buffer holds the number of the polygon seen at every sample, and a table the appearance and class of every polygon.
Image and label are two look-ups in the same buffer, so they agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

from streetscenes.camera import NEAR, Array, Camera
from streetscenes.labels import Label
from streetscenes.light import Light

SAMPLES = 2  # per side, so four per pixel
_OUTSIDE = 2**20  # far outside any image, well inside the range of Pillow's integers
UP, FRONT = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])

# columns of the table of appearances
TEXTURE, GROUND, PAVED, SKY, GLOW, COLUMNS = 3, 4, 5, 6, 7, 8  # after red, green and blue
_GROUND = {Label.ROAD: (1.0, 0.0), Label.PAVEMENT: (1.0, 1.0), Label.VEGETATION: (0.6, 0.0)}
_NOWHERE = np.zeros(3)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Layer:
    """Polygons that were drawn together."""

    points: Array  # (N, M, 3)
    colour: Array  # (3,) or (N, 3)
    normal: Array  # (3,) or (N, 3); zero for what glows
    label: Label
    look: tuple[float, float, float, float, float]  # texture, ground, paved, sky, glow


@dataclass(frozen=True)
class Drawing:
    """The finished content of a canvas."""

    numbers: npt.NDArray[np.int32]  # (2 H, 2 W) the polygon seen at every sample; 0 is the sky
    looks: npt.NDArray[np.float32]  # (polygons, COLUMNS)
    classes: Bytes  # (polygons,) train ids
    shadows: Image.Image  # darkness of the ground, one byte per pixel

    def labels(self) -> Bytes:
        """(H, W) train ids: the most frequent class of a pixel's samples, the larger id of equals."""
        seen = self.classes[self.numbers]
        return vote(seen[0::2, 0::2], seen[0::2, 1::2], seen[1::2, 0::2], seen[1::2, 1::2])


class Canvas:
    """Takes polygons back to front; `finish` draws them."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera, self.light = camera, light
        self._layers: list[_Layer] = []
        self._cast: list[tuple[Array, float]] = []
        self._touch: list[tuple[Array, float]] = []

    def fill(
        self, points: Array, colour: Array, label: Label, *, normal: Array | None = FRONT, texture: float = 0.0
    ) -> None:
        """Upright polygons (N, M, 3) in world coordinates, the last on top, of colours (3,) or (N, 3).

        They are lit as surfaces with `normal`, (3,) or (N, 3); without one they emit light.
        `texture` is the strength of their noise.
        """
        glow = float(normal is None)
        look = (texture, 0.0, 0.0, 0.0, glow)
        self._layers.append(_Layer(points, colour, _NOWHERE if normal is None else normal, label, look))

    def lay(self, points: Array, colour: Array, label: Label, *, texture: float = 0.0) -> None:
        """Polygons (N, M, 3) on the ground; they receive shadows, and haze is added per pixel."""
        self._layers.append(_Layer(points, colour, UP, label, (texture, *_GROUND[label], 0.0, 0.0)))

    def cast(self, points: Array, strength: float = 1.0) -> None:
        """A shadow of the sun: a polygon (M, 3) on the ground, with a strength in 0..1 that the light limits."""
        self._cast.append((points, strength * self.light.shadow))

    def touch(self, points: Array, strength: float) -> None:
        """As `cast`, for the contact shadow of an object on the ground, which does not depend on the light."""
        self._touch.append((points, strength))

    def finish(self) -> Drawing:
        counts = [len(layer.points) for layer in self._layers]
        first = np.cumsum([1, *counts])
        outlines: list[list[float]] = [[]] * int(first[-1])
        depth = np.zeros(first[-1] - 1)
        for corners in sorted({layer.points.shape[1] for layer in self._layers}):
            chosen = [i for i, layer in enumerate(self._layers) if layer.points.shape[1] == corners]
            points = np.concatenate([self._layers[i].points for i in chosen])
            numbers = np.concatenate([np.arange(first[i], first[i + 1]) for i in chosen])
            depth[numbers - 1] = points[..., 2].mean(axis=1)
            samples, kept = self._place(points)
            for number, outline in zip(numbers[kept].tolist(), samples[kept].tolist(), strict=True):
                outlines[number] = outline
        labels = [layer.label for layer in self._layers]
        classes = np.concatenate([[np.uint8(Label.SKY)], np.repeat(np.array(labels, np.uint8), counts)])
        return Drawing(
            self._paint(outlines),
            self._looks(counts, depth),
            classes,
            ImageChops.screen(self._shadows(self._cast), self._shadows(self._touch)),
        )

    def _place(self, points: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Polygons (N, 2 M) in whole samples, and which of them (N,) are visible."""
        size = np.array(self.camera.size[::-1]) * SAMPLES
        samples = self.camera.project(points) * SAMPLES
        low, high = samples.min(axis=1), samples.max(axis=1)
        kept = (points[..., 2].max(axis=1) > NEAR) & (high > 0).all(axis=1) & (low < size).all(axis=1)
        kept &= (high - low > 0.5).all(axis=1)  # a thinner one would still be drawn a whole sample wide
        # Pillow includes both end samples: moving corners half a sample inwards keeps areas exact and neighbours apart.
        inwards = np.clip(samples.mean(axis=1, keepdims=True) - samples, -0.5, 0.5)
        whole = np.clip(np.rint(samples + inwards - 0.5), -_OUTSIDE, _OUTSIDE)
        return whole.reshape(len(points), -1), kept

    def _shadows(self, shapes: list[tuple[Array, float]]) -> Image.Image:
        """Darkness of every pixel of the ground; the last of overlapping shapes wins."""
        shadows = Image.new("L", (self.camera.size[1], self.camera.size[0]))
        draw = ImageDraw.Draw(shadows)
        if not shapes:
            return shadows
        corners = [points.reshape(-1, 3) for points, _ in shapes]
        pixels = np.clip(np.rint(self.camera.project(np.concatenate(corners)) - 0.5), -_OUTSIDE, _OUTSIDE)
        ends = np.cumsum([len(points) for points in corners])[:-1]
        for (points, strength), outline in zip(shapes, np.split(pixels, ends), strict=True):
            if points[..., 2].min() > NEAR:
                draw.polygon(outline.ravel().tolist(), fill=round(255 * strength))
        return shadows

    def _paint(self, outlines: list[list[float]]) -> npt.NDArray[np.int32]:
        height, width = self.camera.size
        buffer = Image.new("I", (width * SAMPLES, height * SAMPLES))
        draw = ImageDraw.Draw(buffer)
        for number, outline in enumerate(outlines):
            if outline:
                draw.polygon(outline, fill=number)
        return np.asarray(buffer)

    def _looks(self, counts: list[int], depth: Array) -> npt.NDArray[np.float32]:
        """The table of appearances: colours in this light, through this haze."""
        layers = self._layers
        colours, normals = (_rows([v.colour for v in layers], counts), _rows([v.normal for v in layers], counts))
        looks = np.zeros((len(depth) + 1, COLUMNS), np.float32)
        looks[0, SKY] = 1
        looks[1:, 3:] = np.repeat(np.array([layer.look for layer in layers]), counts, axis=0)
        lit = np.where(looks[1:, GLOW, None] > 0, colours, self.light.lit(colours, normals))
        looks[1:, :3] = np.where(looks[1:, GROUND, None] > 0, lit, self.light.through_air(lit, depth))
        return looks


def _rows(values: list[Array], counts: list[int]) -> Array:
    """(sum of counts, 3): each value is one row for all its polygons, or one row per polygon."""
    single = np.array([value.ndim == 1 for value in values])
    stacked = np.concatenate([value.reshape(-1, 3) for value in values])
    heights = np.where(single, 1, counts)
    starts, firsts = np.cumsum(heights) - heights, np.cumsum(counts) - counts
    within = np.arange(sum(counts)) - np.repeat(firsts, counts)
    return np.asarray(stacked[np.repeat(starts, counts) + np.where(np.repeat(single, counts), 0, within)])


def vote(a: Bytes, b: Bytes, c: Bytes, d: Bytes) -> Bytes:
    """The most frequent of four values at every position; the largest of equals."""
    (a, b), (c, d) = (np.minimum(a, b), np.maximum(a, b)), (np.minimum(c, d), np.maximum(c, d))
    first, last = np.minimum(a, c), np.maximum(b, d)
    e, f = np.maximum(a, c), np.minimum(b, d)
    second, third = np.minimum(e, f), np.maximum(e, f)
    lower = np.where(first == second, first, last)
    return np.where(third == last, last, np.where(second == third, second, lower))
