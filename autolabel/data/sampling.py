"""Which crop comes when: the items of an epoch are a function of (seed, epoch), so resuming needs no sampler state.

Epochs may draw from different label layers, one part of the training after the other (`data.phases`).

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


def pool_centroids(table: np.ndarray, num_classes: int) -> tuple[np.ndarray, ...]:
    """Rows (class, picture, y, x) by class: for each class rows (picture, y, x), empty where a class is absent."""
    return tuple(table[table[:, 0] == class_id, 1:] for class_id in range(num_classes))


@dataclass(frozen=True)
class Part:
    """What some epochs in a row draw from."""

    epochs: int
    pictures: Sequence[int]  # drawn evenly
    centroids: tuple[np.ndarray, ...]  # drawn class-uniformly: for every class rows (picture, y, x)

    @property
    def present(self) -> list[int]:
        """The classes that can be drawn."""
        return [class_id for class_id, rows in enumerate(self.centroids) if len(rows)]


@dataclass(frozen=True)
class EpochSampler:
    """Draws `epoch_images` items an epoch, from one part after the other; the last one goes on without end.

    The share that is not class-uniform walks through permutations of a part's pictures, one after the other and across
    epochs: after any number of epochs two pictures were drawn equally often, give or take one. Parts with the same
    pictures share a walk.
    """

    parts: tuple[Part, ...]
    seed: int
    epoch_images: int
    class_uniform: float

    def items(self, epoch: int) -> list[Item]:
        number, begun = self._part_of(epoch)
        part = self.parts[number]
        present, num_plain = part.present, self._num_plain(part)
        rng = np.random.default_rng([self.seed, _EPOCH, epoch])
        drawn = [_class_item(rng, part, present) for _ in range(self.epoch_images - num_plain)]
        start = self._walked(number) + (epoch - begun) * num_plain
        drawn += [Item(index) for index in self._walk(part.pictures, start, num_plain)]
        return [drawn[i] for i in rng.permutation(len(drawn))]

    def _part_of(self, epoch: int) -> tuple[int, int]:
        """The part that an epoch belongs to, and the epoch that this part begins with."""
        begun = 0
        for number, part in enumerate(self.parts[:-1]):
            if epoch < begun + part.epochs:
                return number, begun
            begun += part.epochs
        return len(self.parts) - 1, begun

    def _num_plain(self, part: Part) -> int:
        return self.epoch_images - (round(self.class_uniform * self.epoch_images) if part.present else 0)

    def _walked(self, number: int) -> int:
        """How far parts before this one have come with its pictures."""
        mine = list(self.parts[number].pictures)
        return sum(part.epochs * self._num_plain(part) for part in self.parts[:number] if list(part.pictures) == mine)

    def _walk(self, pictures: Sequence[int], start: int, count: int) -> list[int]:
        """Pictures start .. start + count of the endless row of their permutations."""
        size = len(pictures)
        rounds = range(start // size, (start + count - 1) // size + 1)
        order = [np.random.default_rng([self.seed, _PERMUTATION, i]).permutation(size) for i in rounds]
        offset = start - rounds.start * size
        return np.asarray(pictures)[np.concatenate(order)[offset : offset + count]].tolist() if count else []


def _class_item(rng: np.random.Generator, part: Part, present: Sequence[int]) -> Item:
    class_id = present[int(rng.integers(len(present)))]
    rows = part.centroids[class_id]
    index, y, x = (int(v) for v in rows[int(rng.integers(len(rows)))])
    return Item(index, (y, x), class_id)
