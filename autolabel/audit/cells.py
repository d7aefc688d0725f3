"""Pixels of each image of a label set by class and probability bin: the evidence for review, spot check and `next`.

A cell is a class and a source: the bins of the teacher's probability from the lowest up, then one cell for pixels that
a person drew. Ignored pixels have cells of their own, by the class that the teacher saw in them.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import IGNORE
from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ImageCells:
    """One image."""

    labelled: Counts  # (K, B + 1); the last column: drawn by a person
    ignored: Counts  # (K, B)
    drawn: int  # pixels where a coarse label and a class of the teacher stand
    contradicted: int  # those of them where they differ


def image_cells(
    book: Codebook, codes: NDArray[np.integer], labels: NDArray[np.uint8], coarse: NDArray[np.uint8] | None
) -> ImageCells:
    """Count the codes, final labels and coarse labels (H, W) of one image. Raises DataError for unequal sizes."""
    for name, other in (("label", labels), ("coarse label", coarse)):
        if other is not None and other.shape != codes.shape:
            raise DataError(name, f"is {other.shape}, its codes {codes.shape} (height, width)", "run again")
    classes, bins = book.classes_and_bins(codes)
    valid, labelled = classes != IGNORE, labels != IGNORE
    source = sources_of(book, codes, labels, coarse)
    stated = valid & (coarse != IGNORE) if coarse is not None else np.zeros(1, bool)
    return ImageCells(
        _table(labels[labelled], source[labelled], (book.num_classes, book.bins + 1)),
        _table(classes[valid & ~labelled], bins[valid & ~labelled], (book.num_classes, book.bins)),
        int(np.count_nonzero(stated)),
        int(np.count_nonzero(stated & (classes != coarse))),
    )


def sources_of(
    book: Codebook, codes: NDArray[np.integer], labels: NDArray[np.uint8], coarse: NDArray[np.uint8] | None
) -> NDArray[np.integer]:
    """(H, W) source of labelled pixels: the bin, or the number of bins where a person drew them."""
    classes, bins = book.classes_and_bins(codes)
    own = labels == classes if coarse is None else (labels == classes) & (labels != coarse)
    return np.where(own, bins, book.bins)


def _table(classes: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]) -> Counts:
    flat = classes.astype(np.int64) * shape[1] + columns
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


@dataclass(frozen=True)
class CellIndex:
    """All images of a label set, as the non-zero cells of each: it stays small for many classes.

    `rows`, `cells` and `pixels` are equally long. A cell below K * (B + 1) is of labelled pixels, others are of ignored
    ones.
    """

    num_classes: int
    bins: int
    images: tuple[str, ...]
    rows: Counts  # which image
    cells: Counts
    pixels: Counts
    contradicted: NDArray[np.float64]  # (N,) fraction of the drawn pixels where teacher and coarse label differ

    @property
    def sources(self) -> int:
        return self.bins + 1

    def labelled(self) -> tuple[Counts, Counts, Counts, Counts]:
        """Image, class, source and pixels of every cell of labelled pixels."""
        chosen = self.cells < self.num_classes * self.sources
        return self.rows[chosen], *np.divmod(self.cells[chosen], self.sources), self.pixels[chosen]

    def ignored(self) -> tuple[Counts, Counts, Counts, Counts]:
        """Image, class that the teacher saw, bin and pixels of every cell of ignored pixels."""
        first = self.num_classes * self.sources
        chosen = self.cells >= first
        return self.rows[chosen], *np.divmod(self.cells[chosen] - first, self.bins), self.pixels[chosen]

    def totals(self) -> Counts:
        """(K, B + 1) labelled pixels of the whole set."""
        _, classes, sources, pixels = self.labelled()
        flat = classes * self.sources + sources
        total = np.bincount(flat, weights=pixels, minlength=self.num_classes * self.sources)
        return total.astype(np.int64).reshape(self.num_classes, self.sources)

    def to_bytes(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            shape=[self.num_classes, self.bins],
            images=np.array("\0".join(self.images)),  # no id holds a NUL
            rows=self.rows.astype(np.uint32),
            cells=self.cells.astype(np.uint32),
            pixels=self.pixels.astype(np.uint32),
            contradicted=self.contradicted,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: object) -> CellIndex:
        """The inverse of `to_bytes`. Raises DataError for other bytes."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                num_classes, bins = file["shape"].tolist()
                text = str(file["images"])
                rows, cells, pixels = (file[name].astype(np.int64) for name in ("rows", "cells", "pixels"))
                images = tuple(text.split("\0"))
                return cls(num_classes, bins, images, rows, cells, pixels, file["contradicted"])
        except (ValueError, KeyError, OSError, EOFError, BadZipFile, zlib.error) as error:
            raise DataError(where, f"is damaged: {error}", "delete it; it is made again") from error


def cell_index(images: Sequence[tuple[str, ImageCells]], num_classes: int, bins: int) -> CellIndex:
    """The index of images in their order."""
    flat = [np.concatenate([image.labelled.ravel(), image.ignored.ravel()]) for _, image in images]
    used = [np.flatnonzero(counts) for counts in flat]
    empty = [np.zeros(0, np.int64)]
    return CellIndex(
        num_classes,
        bins,
        tuple(image_id for image_id, _ in images),
        np.repeat(np.arange(len(used)), [len(cells) for cells in used]),
        np.concatenate(empty + used),
        np.concatenate(empty + [counts[cells] for counts, cells in zip(flat, used, strict=True)]),
        np.array([image.contradicted / max(image.drawn, 1) for _, image in images]),
    )
