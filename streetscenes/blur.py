"""Wide blurs of light, in floats, because byte steps would show as rings in dark regions."""

from __future__ import annotations

import numpy as np
from PIL import Image

from streetscenes.noise import Field

_SHRINK = 4  # factor of the downsampling, which a wide blur does not show


def soften(colour: Field, radius: float) -> Field:
    """Colours (H, W, 3) blurred over about `radius` pixels: two box blurs per axis, at a quarter of the size."""
    height, width = colour.shape[:2]
    small = _resized(colour, (max(1, height // _SHRINK), max(1, width // _SHRINK)), Image.Resampling.BOX)
    reach = max(1, round(radius / _SHRINK))
    for axis in (0, 1, 0, 1):
        small = _box(small, reach, axis)
    return _resized(small, (height, width), Image.Resampling.BILINEAR)


def _resized(colour: Field, size: tuple[int, int], method: Image.Resampling) -> Field:
    channels = [Image.fromarray(np.ascontiguousarray(colour[..., i])) for i in range(3)]
    return np.stack([np.asarray(channel.resize(size[::-1], method), np.float32) for channel in channels], axis=-1)


def _box(field: Field, reach: int, axis: int) -> Field:
    """Means over 2 * reach + 1 values along an axis; the border value repeats outside."""
    widths = [(reach + 1, reach) if i == axis else (0, 0) for i in range(field.ndim)]
    sums = np.cumsum(np.pad(field, widths, mode="edge"), axis=axis, dtype=np.float64)
    window, number = 2 * reach + 1, field.shape[axis]
    upper = np.take(sums, range(window, window + number), axis=axis)
    return np.asarray((upper - np.take(sums, range(number), axis=axis)) / window, np.float32)
