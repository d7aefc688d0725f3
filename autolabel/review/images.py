"""The images of a label set under review, and all that is known of their pixels; read one at a time."""

from __future__ import annotations

import csv
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.artifacts import coarse_policies, labels_meta, read_ledger, read_manifest, read_shard_index
from autolabel.audit.cells import CellIndex, ImageCells, cell_index, image_cells
from autolabel.audit.queue import Ranked, rank_by_table
from autolabel.data.loaders import load_image, load_label
from autolabel.data.manifest import Manifest
from autolabel.errors import DataError
from autolabel.labels.label_set import FOLDER, TABLE
from autolabel.labels.shards import Shard, read_shard
from autolabel.review.decisions import Layers, layers_of
from autolabel.store import Artefact

_SHARDS_KEPT = 2
_MAPS_KEPT = 8


class Maps(NamedTuple):
    """One image; all (H, W)."""

    codes: NDArray[np.integer]
    layers: Layers
    coarse: NDArray[np.uint8] | None


class ReviewSet:
    """A label set, the codes that it was cut from, and the manifest of the data. Several threads may use it.

    The manifest of the data, which knows the coarse labels, is read where it is first needed.
    """

    def __init__(self, labels: Artefact, codes: Artefact, data: Artefact, roots: Mapping[str, Path]) -> None:
        self.labels, self.codes, self._data_artefact = labels, codes, data
        self._roots = {**roots, "labels": labels.data}
        self.manifest = read_manifest(labels)
        self.index = read_shard_index(codes)
        self.classes, self.book = self.manifest.classes, self.index.book
        self.meta = labels_meta(labels)
        self.ids = tuple(row.id for row in self.manifest.images)
        self.position = {image_id: n for n, image_id in enumerate(self.ids)}
        self._shard_of = {image_id: entry.name for entry in self.index.of_split("train") for image_id in entry.ids}
        self._shards: OrderedDict[str, Shard] = OrderedDict()
        self._maps: OrderedDict[str, Maps] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def data(self) -> Manifest:
        return read_manifest(self._data_artefact)

    @property
    def has_coarse(self) -> bool:
        return set(coarse_policies(self.meta, self.classes.num_classes)) != {"off"}

    def maps(self, image_id: str) -> Maps:
        """The maps of one image; the last few are kept. Raises DataError."""
        with self._lock:
            if image_id not in self._maps:
                self._maps[image_id] = self._read(image_id)
                while len(self._maps) > _MAPS_KEPT:
                    self._maps.popitem(last=False)
            self._maps.move_to_end(image_id)
            return self._maps[image_id]

    def by_shard(self, image_ids: Iterable[str]) -> list[str]:
        """Those of the ids that are in the label set, in an order that reads each shard of codes once."""
        return sorted({*image_ids} & self.position.keys() & self._shard_of.keys(), key=lambda i: (self._shard_of[i], i))

    def _read(self, image_id: str) -> Maps:
        row = self.manifest.label(image_id, "auto")
        if row is None or image_id not in self._shard_of:
            raise DataError(image_id, "is not in the label set")
        codes = self._shard(self._shard_of[image_id]).codes(image_id)
        labels = load_label(row, self._roots, self.classes)
        return Maps(codes, layers_of(self.book, codes, labels), self._coarse(image_id))

    def _coarse(self, image_id: str) -> NDArray[np.uint8] | None:
        row = self.data.label(image_id, "coarse") if self.has_coarse else None
        return None if row is None else load_label(row, self._roots, self.classes)

    def _shard(self, name: str) -> Shard:
        if name not in self._shards:
            self._shards[name] = read_shard(self.codes.read(name), where=name)
            while len(self._shards) > _SHARDS_KEPT:
                self._shards.popitem(last=False)
        self._shards.move_to_end(name)
        return self._shards[name]

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """(H, W, 3) RGB. Raises DataError where the file is gone or changed."""
        return load_image(self.manifest.image(image_id), self._roots)

    def ranked_by_table(self) -> Ranked:
        """The first ranking, from the table and the ledger of the label set."""
        names = self.position
        rows = list(csv.reader(io.StringIO(self.labels.read(f"{FOLDER}/{TABLE}").decode("utf-8"), newline="")))[1:]
        fractions = np.zeros((len(self.ids), self.classes.num_classes))
        confidence = np.ones(len(self.ids))
        for row in rows:
            place = names[row[0]]
            confidence[place] = float(row[3] or 1)
            fractions[place] = [float(cell) for cell in row[4:]]
        sizes = np.array([image.width * image.height for image in self.manifest.images], np.float64)
        vetoed = np.zeros(len(self.ids))
        for entry in read_ledger(self.labels):
            vetoed[names[entry.image_id]] = entry.pixels.get("veto", 0)
        return rank_by_table(sizes, fractions, confidence, vetoed / np.maximum(sizes, 1))

    def count_cells(self, *, check: Callable[[], object]) -> CellIndex:
        """The cells of all images, in one pass over codes and labels; `check` may raise to end it."""
        found = {}
        for image_id, cells in self._cells():
            check()
            found[image_id] = cells
        rows = [(image_id, found[image_id]) for image_id in self.ids]
        return cell_index(rows, self.classes.num_classes, self.book.bins)

    def _cells(self) -> Iterator[tuple[str, ImageCells]]:
        for entry in self.index.of_split("train"):
            shard = read_shard(self.codes.read(entry.name), where=entry.name)
            for image_id in shard.ids:
                row = self.manifest.label(image_id, "auto")
                if row is None:
                    raise DataError(image_id, "is not in the label set", "run again")
                labels = load_label(row, self._roots, self.classes)
                yield image_id, image_cells(self.book, shard.codes(image_id), labels, self._coarse(image_id))
