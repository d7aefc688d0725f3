"""Samples of images and labels, in memory or behind a cache."""

from __future__ import annotations

import threading
from typing import NamedTuple, Protocol

import numpy as np

CACHE_BYTES = 512_000_000


class Sample(NamedTuple):
    """An image with its label; all arrays are uint8."""

    image: np.ndarray  # (H, W, 3) RGB
    label: np.ndarray  # (H, W) train ids, 255 = ignore
    confidence: np.ndarray | None = None  # (H, W): how much each pixel counts in the loss, 255 = 1; None = all count 1

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self if array is not None)


class Pairs(Protocol):
    """A sequence of samples. All of them come with confidence, or none does."""

    @property
    def has_confidence(self) -> bool: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class CachedPairs:
    """Keeps decoded samples up to `limit` bytes: a small data set is decoded once. Nothing is ever evicted. Threads may
    share it."""

    def __init__(self, pairs: Pairs, *, limit: int = CACHE_BYTES) -> None:
        self.pairs, self.room = pairs, limit
        self._kept: dict[int, Sample] = {}
        self._lock = threading.Lock()

    @property
    def has_confidence(self) -> bool:
        return self.pairs.has_confidence

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        if index in self._kept:
            return self._kept[index]
        sample = self.pairs[index]
        with self._lock:
            if index not in self._kept and sample.nbytes <= self.room:
                self.room -= sample.nbytes
                self._kept[index] = sample
        return sample


def count_classes(pairs: Pairs, num_classes: int) -> np.ndarray:
    """(N, K) pixels of each class in each label: for pairs in memory; a manifest has them counted."""
    labels = (pairs[index].label for index in range(len(pairs)))
    return np.array([np.bincount(label.ravel(), minlength=256)[:num_classes] for label in labels])
