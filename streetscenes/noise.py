"""Natural-looking periodic noise."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from streetscenes.camera import Array

TILE = 512

Field = npt.NDArray[np.float32]


@cache
def fractal_tile(exponent: float) -> Field:
    """A (512, 512) periodic field, mean 0, standard deviation 1, whose amplitude falls as frequency^-exponent."""
    rng = np.random.Generator(np.random.PCG64([TILE, round(exponent * 100)]))
    waves = np.fft.rfft2(rng.standard_normal((TILE, TILE)))
    radius = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]) * TILE
    radius[0, 0] = np.inf
    field = np.fft.irfft2(waves / radius**exponent, s=(TILE, TILE))
    normalised: Field = (field / field.std()).astype(np.float32)
    return normalised


def look_up(tile: Field, x: Array, y: Array) -> Field:
    """The periodic tile at broadcastable positions in units of its samples, linearly interpolated."""
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_fraction, low_fraction = (x - left).astype(np.float32), (y - top).astype(np.float32)
    left, right = left % TILE, (left + 1) % TILE
    top, low = (top % TILE) * TILE, ((top + 1) % TILE) * TILE
    flat = tile.ravel()
    upper = flat[top + left] * (1 - right_fraction) + flat[top + right] * right_fraction
    lower = flat[low + left] * (1 - right_fraction) + flat[low + right] * right_fraction
    return np.asarray(upper * (1 - low_fraction) + lower * low_fraction, np.float32)


def screen_noise(tile: Field, size: tuple[int, int], *, rows: int, shift: tuple[int, int]) -> Field:
    """(H, W) noise that covers `rows` rows of the tile, the same pattern at every size."""
    height, width = size
    columns = max(1, min(TILE, round(rows * width / height)))
    patch = np.roll(tile, shift, axis=(0, 1))[:rows, :columns]
    return np.asarray(Image.fromarray(patch).resize((width, height), Image.Resampling.BILINEAR), np.float32)
