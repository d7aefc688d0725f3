"""The nine classes of a scene, as train ids."""

from __future__ import annotations

from enum import IntEnum


class Label(IntEnum):
    ROAD = 0
    PAVEMENT = 1
    BUILDING = 2
    SKY = 3
    VEGETATION = 4
    POLE = 5
    SIGN = 6
    CAR = 7
    PERSON = 8
    IGNORE = 255  # the bonnet of the car that carries the camera
