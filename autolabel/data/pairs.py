"""Pairs of pictures and labels, in memory or behind a cache."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

CACHE_BYTES = 512_000_000

# Image (H, W, 3) and label (H, W), uint8; labels are train ids, 255 = ignore. Or labels (H, W, 2): train ids, and what
# each pixel counts in the loss, 255 = 1.
Pair = tuple[np.ndarray, np.ndarray]


def train_ids(label: np.ndarray) -> np.ndarray:
    """(H, W) of either kind of label."""
    return label if label.ndim == 2 else label[..., 0]


class Pairs(Protocol):
    """A sequence of (image, label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...


class CachedPairs:
    """Keeps decoded pairs up to `limit` bytes: a small data set is decoded once. Nothing is ever evicted. Threads may
    share it."""

    def __init__(self, pairs: Pairs, *, limit: int = CACHE_BYTES) -> None:
        self.pairs, self.room = pairs, limit
        self._kept: dict[int, Pair] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        if index in self._kept:
            return self._kept[index]
        image, label = self.pairs[index]
        size = image.nbytes + label.nbytes
        with self._lock:
            if index not in self._kept and size <= self.room:
                self.room -= size
                self._kept[index] = image, label
        return image, label


def count_classes(pairs: Pairs, num_classes: int) -> np.ndarray:
    """(N, K) pixels of each class in each label: for pairs in memory; a manifest has them counted."""
    labels = (train_ids(pairs[index][1]) for index in range(len(pairs)))
    return np.array([np.bincount(label.ravel(), minlength=256)[:num_classes] for label in labels])
