"""Near-duplicate images: the same image again, in another format, size or brightness.

An image is reduced to 16 x 16 grey means without their average. Two images are near-duplicates if these differ by less
than two grey levels (root mean square).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 16
_DISTANCE = 2.0  # grey levels
_CONTRAST = 6.0  # grey levels (standard deviation): plainer images look alike without being the same
_BLOCK = 1024  # images compared at once


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """16 x 16 grey means of a (H, W, 3) image."""
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    return small.convert("L").tobytes()


def near_duplicates(one: Sequence[bytes], other: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pairs of indices (in `one`, in `other`) of thumbnails of the same image: for each of `one` at most one pair."""
    if not one or not other:
        return []
    left, right = _centred(one), _centred(other)
    pairs = []
    for start in range(0, len(left), _BLOCK):
        block = left[start : start + _BLOCK]
        squares = (block**2).sum(1)[:, None] + (right**2).sum(1) - 2 * block @ right.T
        nearest = squares.argmin(1)
        for index in np.flatnonzero(squares.min(1) < _DISTANCE**2 * _SIDE**2):
            if block[index].std() > _CONTRAST:
                pairs.append((start + int(index), int(nearest[index])))
    return pairs


def _centred(thumbnails: Sequence[bytes]) -> NDArray[np.float64]:
    """(N, 256) grey values without their mean."""
    grey = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), -1).astype(np.float64)
    centred: NDArray[np.float64] = grey - grey.mean(1, keepdims=True)
    return centred
