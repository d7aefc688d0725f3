"""Light of a scene, and the colours of surfaces in it.

Colours are linear RGB; `srgb` converts display colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetscenes.camera import Array


def srgb(*colour: float) -> Array:
    """Linear RGB of a display colour in 0..255."""
    return (np.asarray(colour, np.float64) / 255) ** 2.2


def mix(first: Array, second: Array, fraction: Array | float) -> Array:
    return first + (second - first) * fraction


@dataclass(frozen=True)
class Light:
    sun: Array  # (3,) colour of direct light
    ambient: Array  # (3,) colour of light from all directions
    towards: Array  # (3,) unit vector to the sun
    zenith: Array  # (3,) sky overhead
    horizon: Array  # (3,) sky at the horizon, also the colour of haze
    haze: float  # per metre
    clouds: float  # fraction of the sky, 0..1
    shadow: float  # darkness of a cast shadow, 0..1
    lamps: float  # fraction of windows, lamps and headlights that are on
    wet: float  # reflectivity of the road, 0..1
    exposure: float
    noise: float  # standard deviation of the sensor's noise, in display units of 0..1

    def lit(self, colour: Array, normal: Array) -> Array:
        """Colours (..., 3) of surfaces with these unit normals (..., 3)."""
        cosine = np.sum(normal * self.towards, axis=-1)  # not @, because a threaded product may round differently
        facing = np.clip(cosine, 0, 1)[..., None]
        upward = 0.8 + 0.2 * normal[..., 1:2]  # surfaces that face the sky get more light
        lit: Array = colour * (self.ambient * upward + self.sun * facing)
        return lit

    def through_air(self, colour: Array, depth: Array) -> Array:
        """Colours (..., 3) seen from `depth` (...) metres away."""
        return mix(self.horizon, colour, np.exp(-self.haze * depth)[..., None])
