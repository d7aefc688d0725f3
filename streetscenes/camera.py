"""A pinhole camera above a street that may bend.

World axes in metres: x to the right, y up from the road, z ahead.
The camera stands at (0, height, 0) and looks along z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

NEAR = 1.0  # metres; closer points lie below the image


@dataclass(frozen=True)
class Camera:
    height: float  # metres above the road
    focal: float  # focal length, in units of `scale`
    horizon: float  # fraction of the image height above the horizon
    pan: float  # offset of the vanishing point to the right of the middle, in units of `scale`
    bend: float  # the street shifts sideways by bend * z^2
    size: tuple[int, int]  # (H, W) in pixels

    @property
    def scale(self) -> float:
        """Length in pixels that gives every size of one aspect ratio the same framing, at most that of a 1:2 image."""
        return max(self.size[0], self.size[1] / 2)

    @property
    def origin(self) -> tuple[float, float]:
        """Pixel position (row, column) of the vanishing point."""
        height, width = self.size
        return self.horizon * height, width / 2 + self.pan * self.scale

    def project(self, points: Array) -> Array:
        """Pixel positions (..., 2) as (column, row) of world points (..., 3); depth is clamped at `NEAR`."""
        depth = np.maximum(points[..., 2], NEAR)
        zoom = self.focal * self.scale / depth
        row, column = self.origin
        across = points[..., 0] + self.bend * depth * depth
        return np.stack([column + across * zoom, row + (self.height - points[..., 1]) * zoom], axis=-1)

    def eye(self, depth: float) -> Array:
        """Position of the camera as seen from `depth`: a bend in the street turns the other side of objects to it."""
        return np.array([-self.bend * depth * depth, self.height, 0.0])

    def unproject(self, positions: Array, depth: float) -> Array:
        """World points (..., 3) at `depth` seen at `positions` (..., 2), (column, row) as fractions of the image."""
        pixels = positions * [self.size[1], self.size[0]] - [self.origin[1], self.origin[0]]
        offset = pixels * depth / (self.focal * self.scale)
        across = offset[..., 0] - self.bend * depth * depth
        return np.stack([across, self.height - offset[..., 1], np.full_like(across, depth)], axis=-1)

    def ground(self) -> tuple[int, Array, Array]:
        """First row below the horizon, and x (h, W) and z (h, 1) of the road that the rows from there show."""
        height, width = self.size
        row, column = self.origin
        first = int(np.clip(np.ceil(row), 0, height))
        below = np.maximum(np.arange(first, height) + 0.5 - row, 0.004 * self.scale)
        depth = (self.focal * self.scale * self.height / below)[:, None]
        across = (np.arange(width) + 0.5 - column)[None] * depth / (self.focal * self.scale)
        return first, across - self.bend * depth * depth, depth
