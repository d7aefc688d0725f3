"""The layout of a street: its width, its sides, and the roads that cross it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetscenes.shapes import between

FAR = 170.0  # metres; nothing is placed farther away

Range = tuple[float, float]


@dataclass(frozen=True)
class District:
    """Ranges of the properties of streets in a type of district; lengths are in metres."""

    lanes: tuple[int, int]  # of oncoming traffic
    pavement: Range
    garden: Range  # between pavement and facade
    storeys: tuple[int, int]
    frontage: Range  # width of a building
    gap: float  # probability of trees and grass instead of a building
    trees: float  # probability of a row of trees along a kerb
    parking: float  # probability of a row of parked cars along a kerb
    shops: float  # probability of a shop on the ground floor
    pitched: float  # probability of a pitched roof


DISTRICTS: dict[str, District] = {
    "old town": District((1, 1), (2.4, 3.6), (0, 0), (3, 5), (7, 13), 0.06, 0.25, 0.6, 0.65, 0.7),
    "avenue": District((1, 2), (3.5, 5.5), (0, 1), (4, 8), (12, 24), 0.12, 0.75, 0.55, 0.5, 0.2),
    "suburb": District((1, 1), (2.2, 3.4), (3, 7), (1, 3), (8, 14), 0.28, 0.6, 0.45, 0.05, 0.9),
    "offices": District((1, 2), (3.5, 5.5), (0, 3), (4, 10), (16, 30), 0.14, 0.45, 0.3, 0.3, 0.0),
    "park": District((1, 2), (3.0, 4.5), (0, 2), (3, 5), (10, 20), 0.5, 0.7, 0.5, 0.25, 0.5),
}


@dataclass(frozen=True)
class Side:
    """One side of the street; distances are measured from the camera, x = sign * distance."""

    sign: int
    kerb: float
    pavement: float  # its outer edge
    facade: float
    parking: bool
    trees: bool
    blocks: tuple[tuple[float, float, bool], ...]  # (near, far, built): z ranges; unbuilt ones are green


@dataclass(frozen=True)
class Lane:
    x: float
    ours: bool  # cars drive away from the camera


@dataclass(frozen=True)
class Street:
    district: District
    sides: tuple[Side, Side]
    lanes: tuple[Lane, ...]
    lane_width: float
    middle: float  # x of the line between the directions
    junctions: tuple[tuple[float, float], ...]  # z ranges of crossing roads
    crossings: tuple[float, ...]  # z of zebra crossings
    end: float  # z where the street meets a building across, or FAR

    def open_spans(self, start: float = 1.0) -> list[tuple[float, float]]:
        """z ranges between the crossing roads."""
        return between(self.junctions, start, self.end)


def sample_street(rng: np.random.Generator) -> Street:
    district = DISTRICTS[str(rng.choice(list(DISTRICTS)))]
    hand = 1 if rng.random() < 0.7 else -1  # drive on the right, or on the left
    width = float(rng.uniform(3.0, 3.5))
    against = int(rng.integers(district.lanes[0], district.lanes[1] + 1))
    beside = int(rng.random() < 0.25)  # another lane in our direction between the camera and the kerb
    junctions, end = _junctions(rng)
    sides = []
    for near_side, reach in ((True, 0.5 + beside), (False, 0.5 + against)):
        sign = hand if near_side else -hand
        sides.append(_side(rng, district, sign, reach * width, junctions, end))
    ours = [Lane(hand * width * i, True) for i in range(beside + 1)]
    theirs = [Lane(-hand * width * (i + 1), False) for i in range(against)]
    crossings = [low - 3.5 for low, _ in junctions if rng.random() < 0.6]
    if not crossings and rng.random() < 0.35:
        crossings.append(float(rng.uniform(9, 30)))
    return Street(
        district, (sides[0], sides[1]), (*ours, *theirs), width, -hand * width / 2, junctions, tuple(crossings), end
    )


def _junctions(rng: np.random.Generator) -> tuple[tuple[tuple[float, float], ...], float]:
    """z ranges of crossing roads, and z of the end of the street."""
    spans, z = [], float(rng.uniform(12, 70))
    while z < FAR and rng.random() < 0.6:
        spans.append((z, z + float(rng.uniform(6.5, 10))))
        z += float(rng.uniform(45, 80))
    if rng.random() < 0.25:
        z = float(rng.uniform(45, 110))
        spans = [*[span for span in spans if span[1] + 20 < z], (z, z + 8)]
        return tuple(spans), z + 8
    return tuple(spans), FAR


def _side(
    rng: np.random.Generator,
    district: District,
    sign: int,
    reach: float,
    junctions: tuple[tuple[float, float], ...],
    end: float,
) -> Side:
    parking = bool(rng.random() < district.parking)
    kerb = reach + (2.1 if parking else 0.3)
    pavement = kerb + float(rng.uniform(*district.pavement))
    facade = pavement + float(rng.uniform(*district.garden))
    setback = pavement - kerb
    roads = [(low - setback, high + setback) for low, high in junctions]
    blocks = []
    for start, stop in between(roads, -6.0, end):
        z = start
        while z < stop - 3:
            far = min(z + float(rng.uniform(*district.frontage)), stop)
            blocks.append((z, far, bool(rng.random() >= district.gap)))
            z = far
    return Side(sign, kerb, pavement, facade, parking, bool(rng.random() < district.trees), tuple(blocks))
