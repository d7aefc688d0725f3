"""Pairs of pictures and labels, in memory or behind a cache, and the class centroids of their labels."""

from __future__ import annotations

from typing import Protocol

import joblib
import numpy as np

from autolabel.data.sampling import class_centroids, pool_centroids
from autolabel.world import ALONE, World

CACHE_BYTES = 512_000_000

Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) and label (H, W), uint8; labels are train ids, 255 = ignore


class Pairs(Protocol):
    """A sequence of (image, label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...


class CachedPairs:
    """Keeps decoded pairs up to `limit` bytes: a small data set is decoded once. Nothing is ever evicted."""

    def __init__(self, pairs: Pairs, *, limit: int = CACHE_BYTES) -> None:
        self.pairs, self.room = pairs, limit
        self._kept: dict[int, Pair] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        if index in self._kept:
            return self._kept[index]
        image, label = self.pairs[index]
        size = image.nbytes + label.nbytes
        if size <= self.room:
            self.room -= size
            self._kept[index] = image, label
        return image, label


def find_centroids(
    pairs: Pairs, *, tile: int, num_classes: int, jobs: int = 1, world: World = ALONE
) -> tuple[np.ndarray, ...]:
    """Class centroids of all labels that are trained on: for each class rows (picture, y, x). Ranks share the work."""

    def one(index: int) -> np.ndarray:
        return np.insert(class_centroids(pairs[index][1], tile=tile, num_classes=num_classes), 1, index, axis=1)

    mine = range(world.rank, len(pairs), world.size)
    found = joblib.Parallel(n_jobs=jobs, prefer="threads")(joblib.delayed(one)(i) for i in mine)
    table = world.rows(np.concatenate([np.empty((0, 4), dtype=np.int64), *found]))  # class, picture, y, x
    return pool_centroids(table[np.argsort(table[:, 1], kind="stable")], num_classes)
