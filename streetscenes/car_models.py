"""Shapes of cars: side profiles in fractions of length and height."""

from __future__ import annotations

from dataclasses import dataclass

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Model:
    length: float  # metres
    width: float
    height: float
    profile: Points  # (along, up) from the rear bumper over the roof to the front one
    panes: tuple[int, int]  # edges of the profile: rear window and windscreen
    windows: tuple[
        tuple[float, float, float, float], ...
    ]  # on the sides: rear and front at the bottom, rear and front at the top
    belt: float  # height where the windows start


MODELS: dict[str, Model] = {
    "saloon": Model(
        4.65, 1.82, 1.44,
        ((-0.49, 0.18), (-0.5, 0.4), (-0.495, 0.62), (-0.47, 0.7), (-0.35, 0.73), (-0.19, 0.94), (-0.12, 0.985),
         (0.0, 1.0), (0.1, 0.97), (0.25, 0.7), (0.38, 0.66), (0.46, 0.58), (0.49, 0.46), (0.5, 0.34), (0.49, 0.18)),
        (4, 8), ((-0.29, -0.06, -0.18, -0.06), (-0.03, 0.2, -0.03, 0.08)), 0.7,
    ),
    "hatchback": Model(
        4.0, 1.76, 1.5,
        ((-0.485, 0.18), (-0.5, 0.38), (-0.49, 0.6), (-0.475, 0.68), (-0.41, 0.93), (-0.3, 0.985), (-0.1, 1.0),
         (0.06, 0.96), (0.24, 0.7), (0.38, 0.64), (0.46, 0.55), (0.49, 0.44), (0.5, 0.32), (0.49, 0.18)),
        (3, 7), ((-0.42, -0.13, -0.36, -0.13), (-0.1, 0.19, -0.1, 0.04)), 0.68,
    ),
    "off-roader": Model(
        4.5, 1.9, 1.7,
        ((-0.485, 0.24), (-0.5, 0.42), (-0.495, 0.64), (-0.485, 0.7), (-0.43, 0.94), (-0.35, 0.985), (-0.1, 1.0),
         (0.06, 0.97), (0.22, 0.72), (0.4, 0.68), (0.47, 0.6), (0.495, 0.48), (0.5, 0.36), (0.49, 0.24)),
        (3, 7), ((-0.44, -0.28, -0.41, -0.28), (-0.25, -0.04, -0.25, -0.04), (-0.01, 0.18, -0.01, 0.05)), 0.7,
    ),
    "van": Model(
        5.3, 2.0, 2.25,
        ((-0.49, 0.16), (-0.5, 0.3), (-0.5, 0.58), (-0.49, 0.64), (-0.475, 0.94), (-0.44, 0.985), (0.2, 1.0),
         (0.27, 0.96), (0.39, 0.63), (0.46, 0.54), (0.49, 0.44), (0.5, 0.3), (0.495, 0.16)),
        (3, 7), ((0.12, 0.34, 0.12, 0.25),), 0.62,
    ),
}  # fmt: skip
FREQUENCIES = {"saloon": 0.28, "hatchback": 0.36, "off-roader": 0.24, "van": 0.12}
