"""Near-duplicate images: the same image again, in another format, size or brightness.

An image is reduced to 16 x 16 grey means, shifted and scaled to mean 0 and deviation 1. Two images are near-duplicates
if these differ by less than 0.05 (root mean square). Re-encoded, resized and darkened copies differ by 0.01 to 0.04,
neighbouring frames of a driving car (CamVid, one per second) by 0.1 and more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 16
_DISTANCE = 0.05
_CONTRAST = 6.0  # grey levels (standard deviation): plainer images look alike without being the same
_BLOCK = 1024  # images compared at once


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """16 x 16 grey means of a (H, W, 3) image."""
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return small.convert("L").tobytes()


def near_duplicates(one: Sequence[bytes], other: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pairs of indices (in `one`, in `other`) of thumbnails of the same image: for each of `one` at most one pair."""
    if not one or not other:
        return []
    left = _normalised(one)
    nearest = np.zeros(len(left), np.int64)
    distance = np.full(len(left), np.inf)
    for first in range(0, len(other), _BLOCK):
        right = _normalised(other[first : first + _BLOCK])
        for start in range(0, len(left), _BLOCK):
            block = slice(start, start + _BLOCK)
            squares = (left[block] ** 2).sum(1)[:, None] + (right**2).sum(1) - 2 * left[block] @ right.T
            closer = squares.min(1) < distance[block]
            nearest[block][closer] = first + squares.argmin(1)[closer]
            distance[block][closer] = squares.min(1)[closer]
    close = np.flatnonzero((distance < (_DISTANCE * _SIDE) ** 2) & left.any(1))
    return [(int(index), int(nearest[index])) for index in close]


def distances(one: Sequence[bytes], other: Sequence[bytes]) -> NDArray[np.float64]:
    """(N, M) root mean squares of the differences of thumbnails; a plain image is far from all others."""
    left, right = _normalised(one), _normalised(other)
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
    found: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0)) / _SIDE
    found[~left.any(1)] = found[:, ~right.any(1)] = 2.0  # the distance of an image and its negative
    return found


def _normalised(thumbnails: Sequence[bytes]) -> NDArray[np.float64]:
    """(N, 256) grey values of mean 0 and deviation 1; zero for plain images."""
    grey = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), -1).astype(np.float64)
    grey -= grey.mean(1, keepdims=True)
    contrast = grey.std(1, keepdims=True)
    normalised: NDArray[np.float64] = np.where(contrast > _CONTRAST, grey / np.maximum(contrast, _CONTRAST), 0)
    return normalised
