"""Shades a drawing into an image: sky, texture, shadows, haze, reflections, glow and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from streetscenes.blur import soften
from streetscenes.camera import Camera
from streetscenes.canvas import COLUMNS, GLOW, GROUND, PAVED, SAMPLES, SKY, TEXTURE, Drawing
from streetscenes.light import Light
from streetscenes.noise import Field, fractal_tile, look_up, screen_noise

_TONES = 4096
_BRIGHTEST = 5.0  # linear; brighter light is white


@dataclass(frozen=True)
class Wear:
    """Roughness of the ground of a street."""

    asphalt: float
    patches: float  # fraction of the road that was repaired
    slab: float  # metres, side of a paving slab
    slab_contrast: float
    shift: tuple[int, int]  # position of this scene in the noise


def sample_wear(rng: np.random.Generator) -> Wear:
    first, second = rng.integers(0, 512, 2)
    return Wear(
        asphalt=float(rng.uniform(0.04, 0.12)),
        patches=float(rng.uniform(0.0, 0.3)),
        slab=float(rng.uniform(0.5, 1.3)),
        slab_contrast=float(rng.uniform(0.05, 0.4)),
        shift=(int(first), int(second)),
    )


def expose(
    drawing: Drawing, camera: Camera, light: Light, wear: Wear, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3) of a drawing."""
    looks = _average(drawing)
    colour = looks[..., :3]
    rough = screen_noise(fractal_tile(0.6), camera.size, rows=192, shift=wear.shift)
    colour *= np.maximum(1 + looks[..., TEXTURE] * rough, 0.15)[..., None]
    _roughen_ground(colour, looks, drawing.shadows, camera, light, wear)
    _add_sky(colour, looks[..., SKY], camera, light, wear)
    if light.wet:
        _reflect(colour, looks[..., GROUND], camera, light, wear)
    if light.lamps > 0.05:
        _glow(colour, looks[..., GLOW])
    _vignette(colour)
    return _develop(colour, light, rng)


def _average(drawing: Drawing) -> Field:
    """(H, W, COLUMNS): the appearance of every pixel, averaged over its samples."""
    height, width = drawing.numbers.shape
    total = np.zeros((height // SAMPLES, width // SAMPLES, COLUMNS), np.float32)
    for row in range(SAMPLES):
        for column in range(SAMPLES):
            total += drawing.looks[drawing.numbers[row::SAMPLES, column::SAMPLES]]
    total /= SAMPLES**2
    return total


def _roughen_ground(
    colour: Field, looks: Field, shadows: Image.Image, camera: Camera, light: Light, wear: Wear
) -> None:
    """Add asphalt grain and patches, paving joints and shadows to the ground, then haze."""
    first, x, z = camera.ground()
    ground, paved = looks[first:, :, GROUND, None], looks[first:, :, PAVED]
    near = np.clip(12 / z, 0, 1).astype(np.float32)
    down, right = wear.shift
    grain = look_up(fractal_tile(0.4), x * 24 + right, z * 9 + down) * near * wear.asphalt
    stains = look_up(fractal_tile(1.3), x * 5 + down, z * 2.0 + right)
    grain += stains * 0.06 - 0.16 * ((stains > 1.6 - 2 * wear.patches) & (paved < 0.5))
    joints = ((x % wear.slab) < 0.06) | ((z % wear.slab) < 0.09)
    grain -= paved * joints * near * wear.slab_contrast
    visible = colour[first:]
    visible *= 1 + ground * np.maximum(grain, -0.6)[..., None]
    blur = ImageFilter.GaussianBlur(camera.scale / 220)
    dark = np.asarray(shadows.filter(blur), np.float32)[first:, :, None] / 255
    visible *= 1 - ground * dark
    air = np.exp(-light.haze * z)[..., None].astype(np.float32)
    visible += ground * (1 - air) * (light.horizon.astype(np.float32) - visible)


def _add_sky(colour: Field, sky: Field, camera: Camera, light: Light, wear: Wear) -> None:
    """Add a gradient from horizon to zenith, the halo of the sun, and a flat layer of clouds."""
    row, column = camera.origin
    last = max(1, min(camera.size[0], int(row + 0.02 * camera.scale)))
    up = np.maximum(row - np.arange(last) - 0.5, 0.5)[:, None] / (camera.focal * camera.scale)
    right = (np.arange(camera.size[1]) + 0.5 - column)[None] / (camera.focal * camera.scale)
    height = 1 - np.exp(-3.2 * up)
    air = (light.horizon + (light.zenith - light.horizon) * height[..., None]).astype(np.float32)
    towards = light.towards
    facing = (right * towards[0] + up * towards[1] + towards[2]) / np.sqrt(1 + right**2 + up**2)
    halo = np.clip(facing, 0, 1) ** 24
    air = air + (halo[..., None] * light.sun * 0.25).astype(np.float32)
    down, shift = wear.shift
    layer = 1 / (up + 0.12)
    drift = look_up(fractal_tile(1.5), right * layer * 45 + shift, layer * 60 + down)
    cover = np.clip(drift * 0.5 + 1.6 * light.clouds - 0.75, 0, 1)
    shade = 0.8 + 0.2 * np.clip(0.5 - 0.4 * drift, 0, 1)
    white = (0.55 * light.ambient + 0.25 * light.sun + 0.25 * light.horizon).astype(np.float32)
    cover = (cover * np.clip(up * 9, 0, 1)).astype(np.float32)[..., None]
    air += cover * (white * shade[..., None] - air)
    colour[:last] += sky[:last, :, None] * air


def _reflect(colour: Field, ground: Field, camera: Camera, light: Light, wear: Wear) -> None:
    """Add reflections to a wet road, stronger at a distance and in puddles."""
    row = round(camera.origin[0])
    depth = min(camera.size[0] - row, row)
    if depth <= 0:
        return
    mirror = soften(colour[row - depth : row], camera.scale / 60)[::-1]
    first, x, z = camera.ground()
    puddles = np.clip(0.7 + 0.5 * look_up(fractal_tile(1.3), x * 9 + wear.shift[0], z * 3), 0.1, 1)
    strength = ground[row : row + depth] * light.wet
    strength[first - row :] *= puddles[: depth - first + row]
    road = colour[row : row + depth]
    road += (strength * np.linspace(0.8, 0.0, depth, dtype=np.float32)[:, None])[..., None] * (mirror - road)


def _glow(colour: Field, lamps: Field) -> None:
    """Spread light around emitting polygons."""
    scale = max(lamps.shape[0], lamps.shape[1] / 2)
    colour += 0.7 * soften(np.minimum(colour, _BRIGHTEST) * lamps[..., None], scale / 25)


def _vignette(colour: Field) -> None:
    height, width = colour.shape[:2]
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None] ** 2
    colour *= (1 - 0.11 * (rows + columns))[..., None]


@cache
def _tones() -> Field:
    """Display values by the square root of light: a filmic curve (Narkowicz 2015), then gamma."""
    x = np.linspace(0, 1, _TONES) ** 2 * _BRIGHTEST
    curve = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.asarray(np.clip(curve, 0, 1) ** (1 / 2.2), np.float32)


def _develop(colour: Field, light: Light, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    tones = np.sqrt(np.clip(colour * np.float32(light.exposure / _BRIGHTEST), 0, 1))
    display = _tones()[(tones * (_TONES - 1)).astype(np.int16)]
    display += rng.standard_normal(display.shape, np.float32) * np.float32(light.noise)
    pixels: npt.NDArray[np.uint8] = (np.clip(display, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels
