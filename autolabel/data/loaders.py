"""Load images and labels of manifest rows, and data sets of samples made of them.

Every file is compared with its digest in the manifest before it is used.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import ClassSet
from autolabel.data.decode import decode_image, decode_label
from autolabel.data.schema import ImageRow, LabelRow, unsafe_path
from autolabel.errors import DataError, ImageError, LabelError
from autolabel.labels import png
from autolabel.store.files import sha256_bytes
from autolabel.user_files import read_user_file

_REMEDY = "put it back, or make a new manifest: autolabel manifest EXPERIMENT --rehash"

Roots = Mapping[str, Path]  # name of a root -> folder


def read_file(roots: Roots, root: str, path: str) -> bytes:
    """The bytes of a file below a declared root. Raises DataError for a path outside it and for a missing file."""
    if root not in roots:
        raise DataError(path, f"lies in root {root!r}, which is not declared here", f"declared: {', '.join(roots)}")
    unsafe = unsafe_path(path)
    if unsafe is not None:
        raise DataError(root, f"path {path!r} {unsafe}")
    file = roots[root] / path
    return read_user_file(file, DataError, _REMEDY)


def read_verified(roots: Roots, root: str, path: str, sha256: str) -> bytes:
    """As `read_file`; also raises DataError if the bytes differ from those the manifest describes."""
    data = read_file(roots, root, path)
    if sha256_bytes(data) != sha256:
        raise DataError(roots[root] / path, "changed since the manifest was built", _REMEDY)
    return data


def load_image(row: ImageRow, roots: Roots, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. `max_pixels` defaults to the size in the manifest. Raises DataError."""
    data = read_verified(roots, row.root, row.path, row.sha256)
    limit = row.width * row.height if max_pixels is None else max_pixels
    image = decode_image(data, where=row.path, max_pixels=limit)
    if image.shape[:2] != (row.height, row.width):
        raise ImageError(row.path, f"is {image.shape[1]} x {image.shape[0]}, not {row.width} x {row.height}")
    return image


def load_label(row: LabelRow, roots: Roots, classes: ClassSet, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """(H, W) uint8 train ids, 255 = ignore. `max_pixels` defaults to the pixels in the manifest. Raises DataError."""
    return label_from(read_verified(roots, row.root, row.path, row.sha256), row, classes, max_pixels=max_pixels)


def label_from(data: bytes, row: LabelRow, classes: ClassSet, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """As `load_label`, from the file's bytes."""
    limit = sum(row.counts) if max_pixels is None else max_pixels
    return decode_label(data, where=row.path, classes=classes, encoding=row.encoding, max_pixels=limit)


def load_confidence(roots: Roots, root: str, path: str, sha256: str, *, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) uint8 confidence of each pixel of a label with this `shape`, 255 = 1. Raises DataError."""
    confidence = png.decode(read_verified(roots, root, path, sha256), where=path, max_pixels=shape[0] * shape[1])
    if confidence.shape != shape:
        raise LabelError(path, f"is {confidence.shape}, its label {shape} (height, width)")
    return confidence


CACHE_BYTES = 512_000_000


class Sample(NamedTuple):
    """An image with its label; all arrays are uint8."""

    image: np.ndarray  # (H, W, 3) RGB
    label: np.ndarray  # (H, W) train ids, 255 = ignore
    confidence: np.ndarray | None = None  # (H, W): weight of each pixel in the loss, 255 = 1; None = 1 everywhere
    # For labels that are made online: the image (H, W, 3) before strong changes.
    weak: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self if array is not None)


class SegmentationDataset(Protocol):
    """A sequence of samples; all of them have confidence, or none has."""

    @property
    def has_confidence(self) -> bool: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class CachedDataset:
    """Keeps decoded samples up to `limit` bytes, so that a small data set is decoded once. Nothing is ever evicted.

    Several threads may use it at once.
    """

    def __init__(self, pairs: SegmentationDataset, *, limit: int = CACHE_BYTES) -> None:
        self.pairs, self.free_bytes = pairs, limit
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
            if index not in self._kept and sample.nbytes <= self.free_bytes:
                self.free_bytes -= sample.nbytes
                self._kept[index] = sample
        return sample


def count_classes(pairs: SegmentationDataset, num_classes: int) -> np.ndarray:
    """(N, K) pixels of each class in each label, for pairs in memory; manifest rows already hold these counts."""
    labels = (pairs[index].label for index in range(len(pairs)))
    return np.array([np.bincount(label.ravel(), minlength=256)[:num_classes] for label in labels])


class ConfidenceFile(TypedDict):
    """A map of an auto label's confidence, (H, W) uint8: 255 means certain."""

    path: str
    sha256: str


class ManifestDataset:
    """Samples of a manifest, read with their digests checked.

    `confidence` holds, by image id, the path and sha256 of an auto label's confidence map. With it every sample has
    confidence; labels that people drew have 1 everywhere.
    """

    def __init__(
        self,
        rows: Sequence[tuple[ImageRow, LabelRow]],
        roots: Roots,
        classes: ClassSet,
        confidence: Mapping[str, ConfidenceFile] | None = None,
    ) -> None:
        self.rows, self.roots, self.classes, self.confidence = rows, roots, classes, confidence

    @property
    def has_confidence(self) -> bool:
        return self.confidence is not None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        image_row, label_row = self.rows[index]
        image = load_image(image_row, self.roots)
        label = load_label(label_row, self.roots, self.classes)
        return Sample(image, label, self._confidence(label_row, label.shape))

    def _confidence(self, row: LabelRow, shape: tuple[int, ...]) -> np.ndarray | None:
        if self.confidence is None:
            return None
        if row.role != "auto":
            return np.full(shape, 255, np.uint8)
        file = self.confidence[row.image_id]
        return load_confidence(self.roots, row.root, file["path"], file["sha256"], shape=shape)
