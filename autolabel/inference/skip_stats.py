"""What skipping left out, and what it cost: sums over images, chunks and ranks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, NamedTuple

from torch import Tensor

from autolabel.labels.codes import REQUIRED_EDGE, CodeBook


class Skipped(NamedTuple):
    """Pixels of the highest scale's images."""

    skipped: int = 0
    pixels: int = 0

    def plus(self, other: Skipped) -> Skipped:
        return Skipped(self.skipped + other.skipped, self.pixels + other.pixels)


class Agreement(NamedTuple):
    """Of images that were also labelled densely."""

    images: int = 0
    pixels: int = 0
    same_label: int = 0  # pixels, cut at 0.5
    same_class: int = 0  # whatever its probability

    def plus(self, other: Agreement) -> Agreement:
        return Agreement(*(a + b for a, b in zip(self, other, strict=True)))


class SkipStats(NamedTuple):
    skipped: Skipped = Skipped()
    agreement: Agreement = Agreement()

    def plus(self, other: SkipStats) -> SkipStats:
        return SkipStats(self.skipped.plus(other.skipped), self.agreement.plus(other.agreement))

    def to_row(self) -> dict[str, dict[str, int]]:
        """As a journal keeps it."""
        return {"skipped": self.skipped._asdict(), "agreement": self.agreement._asdict()}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> SkipStats:
        return cls(Skipped(**row["skipped"]), Agreement(**row["agreement"]))


def total(parts: Iterable[SkipStats]) -> SkipStats:
    return reduce(SkipStats.plus, parts, SkipStats())


class Meter(threading.local):
    """What the calls made in this thread have left out since it was last read."""

    def __init__(self) -> None:
        self._sum = Skipped()

    def add(self, skipped: Skipped) -> None:
        self._sum = self._sum.plus(skipped)

    def take(self) -> Skipped:
        found, self._sum = self._sum, Skipped()
        return found


class SkipWatch:
    """Counts what a teacher leaves out, and labels some images, named by `ids`, once more without skipping.

    `take` gives what the calls of this thread have left out, `dense` codes (B, H, W) of pictures (B, H, W, 3).
    """

    def __init__(
        self, take: Callable[[], Skipped], dense: Callable[[Tensor], Tensor], book: CodeBook, ids: Iterable[str] = ()
    ) -> None:
        self._take, self.dense, self._book, self._ids = take, dense, book, frozenset(ids)
        self._labels = book.lut(REQUIRED_EDGE)

    def __call__(
        self, ids: Sequence[str], pictures: Tensor, codes: Tensor, dense: Callable[[Tensor], Tensor]
    ) -> SkipStats:
        """Of images whose codes this thread has just computed; `dense` is the own one in whatever goes around it."""
        skipped = self._take()
        chosen = [i for i, image_id in enumerate(ids) if image_id in self._ids]
        if not chosen:
            return SkipStats(skipped)
        expected = dense(pictures[chosen]).cpu().numpy()
        found = codes[chosen].cpu().numpy()
        same_label = int((self._labels[found] == self._labels[expected]).sum())
        classes, dense_classes = (self._book.classes_and_bins(each)[0] for each in (found, expected))
        return SkipStats(skipped, Agreement(len(chosen), found.size, same_label, int((classes == dense_classes).sum())))


def spread(ids: Sequence[str], count: int) -> list[str]:
    """`count` of them, one from the middle of each of as many equal parts."""
    count = min(count, len(ids))
    return [ids[(2 * i + 1) * len(ids) // (2 * count)] for i in range(count)]
