"""Which crop comes when: the items of an epoch are a function of (seed, epoch), so resuming needs no sampler state.

A share of each epoch is drawn uniformly over *classes*: a class, then one of its tile centroids. Rare classes are thus
seen as often as roads are (method of the reference recipe: half of an epoch, tiles of 1024 px).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# Keep the streams of random numbers drawn from one run seed apart.
_PERMUTATION, _EPOCH = 1, 2


@dataclass(frozen=True)
class Item:
    """One training sample: which picture, and for a class-uniform draw the pixel (y, x) its crop must hold."""

    index: int
    centre: tuple[int, int] | None = None
    class_id: int | None = None


def class_centroids(label: np.ndarray, *, tile: int, num_classes: int) -> np.ndarray:
    """Centroid of every class in every `tile` x `tile` px tile of a label (H, W): rows (class, y, x), int64.

    A centroid may fall outside a bent or split region; it is moved to the nearest pixel of its class in the tile,
    so that a crop around it really shows the class.
    """
    height, width = label.shape
    rows = [
        (class_id, top + y, left + x)
        for top in range(0, height, tile)
        for left in range(0, width, tile)
        for class_id, y, x in _tile_centroids(label[top : top + tile, left : left + tile], num_classes)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _tile_centroids(tile: np.ndarray, num_classes: int) -> Iterable[tuple[int, int, int]]:
    present = np.flatnonzero(np.bincount(tile.ravel(), minlength=256)[:num_classes])
    for class_id in present.tolist():
        pixels = np.flatnonzero(tile == class_id)
        ys = pixels // tile.shape[1]
        xs = pixels - ys * tile.shape[1]
        nearest = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
        yield class_id, int(ys[nearest]), int(xs[nearest])


def pool_centroids(per_image: Sequence[np.ndarray], num_classes: int) -> tuple[np.ndarray, ...]:
    """The centroids of all pictures by class: for each class rows (picture, y, x), empty where a class is absent."""
    rows = [np.insert(found, 1, index, axis=1) for index, found in enumerate(per_image)]
    table = np.concatenate(rows) if rows else np.empty((0, 4), dtype=np.int64)  # class, picture, y, x
    return tuple(table[table[:, 0] == class_id, 1:] for class_id in range(num_classes))


@dataclass(frozen=True)
class EpochSampler:
    """Draws `epoch_images` items an epoch; `centroids` holds rows (picture, y, x) for every class.

    The share that is not class-uniform walks through permutations of all pictures, one after the other and across
    epochs: after any number of epochs two pictures were drawn equally often, give or take one.
    """

    num_items: int
    centroids: tuple[np.ndarray, ...]
    seed: int
    epoch_images: int
    class_uniform: float

    def items(self, epoch: int) -> list[Item]:
        present = [class_id for class_id, rows in enumerate(self.centroids) if len(rows)]
        num_uniform = round(self.class_uniform * self.epoch_images) if present else 0
        num_plain = self.epoch_images - num_uniform
        rng = np.random.default_rng([self.seed, _EPOCH, epoch])
        drawn = [self._class_item(rng, present) for _ in range(num_uniform)]
        drawn += [Item(index) for index in self._walk(epoch * num_plain, num_plain)]
        return [drawn[i] for i in rng.permutation(len(drawn))]

    def _class_item(self, rng: np.random.Generator, present: Sequence[int]) -> Item:
        class_id = present[int(rng.integers(len(present)))]
        rows = self.centroids[class_id]
        index, y, x = (int(v) for v in rows[int(rng.integers(len(rows)))])
        return Item(index, (y, x), class_id)

    def _walk(self, start: int, count: int) -> list[int]:
        """Items start .. start + count of the endless row of permutations."""
        rounds = range(start // self.num_items, (start + count - 1) // self.num_items + 1)
        order = [np.random.default_rng([self.seed, _PERMUTATION, i]).permutation(self.num_items) for i in rounds]
        offset = start - rounds.start * self.num_items
        return np.concatenate(order)[offset : offset + count].tolist() if count else []
