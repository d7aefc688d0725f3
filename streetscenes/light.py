"""Light: where it comes from and what it does to a colour.

Colours are linear RGB; `srgb` turns the usual display colours into them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetscenes.camera import Array


def srgb(*colour: float) -> Array:
    """Linear RGB of a display colour in 0..255."""
    return (np.asarray(colour, np.float64) / 255) ** 2.2


def mix(first: Array, second: Array, share: Array | float) -> Array:
    return first + (second - first) * share


@dataclass(frozen=True)
class Light:
    sun: Array  # (3,) colour of direct light
    ambient: Array  # (3,) colour of the light from everywhere
    towards: Array  # (3,) unit vector to the sun
    zenith: Array  # (3,) sky overhead
    horizon: Array  # (3,) sky at the horizon, which is also the colour of haze
    haze: float  # per metre
    clouds: float  # share of the sky, 0..1
    shadow: float  # how dark a cast shadow is, 0..1
    lamps: float  # share of windows, lamps and headlights that are on
    wet: float  # how much the road mirrors, 0..1
    exposure: float
    noise: float  # standard deviation of the sensor's noise, in display units of 0..1

    def lit(self, colour: Array, normal: Array) -> Array:
        """Colours (..., 3) of surfaces with these unit normals (..., 3)."""
        cosine = np.sum(normal * self.towards, axis=-1)  # not @: a threaded product may round otherwise
        facing = np.clip(cosine, 0, 1)[..., None]
        upward = 0.8 + 0.2 * normal[..., 1:2]  # the sky lights what looks up
        lit: Array = colour * (self.ambient * upward + self.sun * facing)
        return lit

    def through_air(self, colour: Array, depth: Array) -> Array:
        """Colours (..., 3) seen from `depth` (...) metres away."""
        return mix(self.horizon, colour, np.exp(-self.haze * depth)[..., None])
