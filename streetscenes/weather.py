"""Weather and times of day, and their light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streetscenes.camera import Array
from streetscenes.light import Light, srgb


@dataclass(frozen=True)
class Sky:
    """Ranges of the properties of a weather; colours are display colours."""

    sun: tuple[float, float, float]
    sun_power: tuple[float, float]
    elevation: tuple[float, float]  # degrees
    ambient: tuple[float, float, float]
    ambient_power: tuple[float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    haze: tuple[float, float]
    clouds: tuple[float, float]
    shadow: tuple[float, float]
    lamps: tuple[float, float]
    wet: tuple[float, float]
    exposure: tuple[float, float]
    noise: tuple[float, float]


SKIES: dict[str, Sky] = {
    "clear": Sky(
        sun=(255, 244, 226),
        sun_power=(2.0, 2.8),
        elevation=(30, 60),
        ambient=(196, 214, 240),
        ambient_power=(0.9, 1.2),
        zenith=(62, 120, 204),
        horizon=(190, 214, 236),
        haze=(0.0005, 0.003),
        clouds=(0.0, 0.55),
        shadow=(0.5, 0.65),
        lamps=(0.0, 0.02),
        wet=(0.0, 0.0),
        exposure=(0.6, 1.0),
        noise=(0.004, 0.012),
    ),
    "low sun": Sky(
        sun=(255, 206, 140),
        sun_power=(2.0, 3.0),
        elevation=(12, 24),
        ambient=(186, 196, 226),
        ambient_power=(0.5, 0.8),
        zenith=(84, 128, 190),
        horizon=(255, 214, 164),
        haze=(0.002, 0.006),
        clouds=(0.1, 0.6),
        shadow=(0.5, 0.68),
        lamps=(0.0, 0.1),
        wet=(0.0, 0.1),
        exposure=(0.65, 1.1),
        noise=(0.006, 0.016),
    ),
    "overcast": Sky(
        sun=(255, 252, 248),
        sun_power=(0.15, 0.45),
        elevation=(40, 70),
        ambient=(226, 232, 240),
        ambient_power=(1.2, 1.7),
        zenith=(168, 178, 190),
        horizon=(222, 227, 232),
        haze=(0.0015, 0.006),
        clouds=(0.6, 1.0),
        shadow=(0.08, 0.2),
        lamps=(0.0, 0.1),
        wet=(0.0, 0.3),
        exposure=(0.7, 1.1),
        noise=(0.005, 0.016),
    ),
    "rain": Sky(
        sun=(255, 252, 248),
        sun_power=(0.05, 0.15),
        elevation=(40, 70),
        ambient=(196, 208, 222),
        ambient_power=(0.7, 1.1),
        zenith=(112, 122, 136),
        horizon=(176, 184, 192),
        haze=(0.005, 0.012),
        clouds=(0.7, 1.0),
        shadow=(0.03, 0.08),
        lamps=(0.1, 0.4),
        wet=(0.4, 0.75),
        exposure=(0.75, 1.2),
        noise=(0.008, 0.02),
    ),
    "dusk": Sky(
        sun=(255, 170, 120),
        sun_power=(0.05, 0.35),
        elevation=(8, 16),
        ambient=(150, 166, 220),
        ambient_power=(0.4, 0.75),
        zenith=(36, 52, 104),
        horizon=(232, 146, 112),
        haze=(0.001, 0.005),
        clouds=(0.1, 0.8),
        shadow=(0.05, 0.25),
        lamps=(0.35, 0.75),
        wet=(0.0, 0.5),
        exposure=(0.8, 1.3),
        noise=(0.012, 0.028),
    ),
}
FREQUENCIES = {"clear": 0.3, "low sun": 0.18, "overcast": 0.24, "rain": 0.12, "dusk": 0.16}


def sample_light(rng: np.random.Generator) -> Light:
    """Sample a weather by its frequency, then every property from its range."""
    sky = SKIES[str(rng.choice(list(FREQUENCIES), p=list(FREQUENCIES.values())))]

    def between(limits: Sequence[float]) -> float:
        return float(rng.uniform(limits[0], limits[1]))

    def tinted(colour: Sequence[float]) -> Array:
        return srgb(*colour) * rng.uniform(0.9, 1.1, 3)

    high = np.radians(between(sky.elevation))
    azimuth = np.pi + rng.choice([-1, 1]) * np.radians(rng.uniform(30, 130))  # 180 degrees is behind the camera
    level = np.cos(high)
    towards = np.array([level * np.sin(azimuth), np.sin(high), level * np.cos(azimuth)])
    return Light(
        sun=tinted(sky.sun) * between(sky.sun_power),
        ambient=tinted(sky.ambient) * between(sky.ambient_power),
        towards=towards,
        zenith=tinted(sky.zenith),
        horizon=tinted(sky.horizon),
        haze=between(sky.haze),
        clouds=between(sky.clouds),
        shadow=between(sky.shadow),
        lamps=between(sky.lamps),
        wet=between(sky.wet),
        exposure=between(sky.exposure),
        noise=between(sky.noise),
    )
