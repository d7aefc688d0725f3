"""Manifest rows to arrays. Every byte is compared with the manifest's digest before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import ClassSet
from autolabel.data.checks import unsafe_path
from autolabel.data.decode import decode_image, decode_label
from autolabel.data.rows import ImageRow, LabelRow
from autolabel.errors import DataError, ImageError, LabelError
from autolabel.given import read_given
from autolabel.labels import png
from autolabel.store.digest import sha256_bytes

Roots = Mapping[str, Path]  # name of a root -> folder


def read_file(roots: Roots, root: str, path: str) -> bytes:
    """The bytes of a file below a declared root. Raises DataError for paths that leave it and for missing files."""
    if root not in roots:
        raise DataError(path, f"lies in root {root!r}, which is not declared here", f"declared: {', '.join(roots)}")
    unsafe = unsafe_path(path)
    if unsafe is not None:
        raise DataError(root, f"path {path!r} {unsafe}")
    file = roots[root] / path
    return read_given(file, DataError, "put it back or build a new manifest")


def read_verified(roots: Roots, root: str, path: str, sha256: str) -> bytes:
    """As `read_file`; also raises DataError where the bytes differ from the manifest's."""
    data = read_file(roots, root, path)
    if sha256_bytes(data) != sha256:
        raise DataError(
            roots[root] / path, "changed since the manifest was built", "put it back or build a new manifest"
        )
    return data


def load_image(row: ImageRow, roots: Roots, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. Without `max_pixels` the size in the manifest is the limit. Raises DataError."""
    data = read_verified(roots, row.root, row.path, row.sha256)
    limit = row.width * row.height if max_pixels is None else max_pixels
    image = decode_image(data, where=row.path, max_pixels=limit)
    if image.shape[:2] != (row.height, row.width):
        raise ImageError(row.path, f"is {image.shape[1]} x {image.shape[0]}, not {row.width} x {row.height}")
    return image


def load_label(row: LabelRow, roots: Roots, classes: ClassSet, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """(H, W) uint8 train ids, 255 = ignore. Without `max_pixels` the pixels counted in the manifest are the limit."""
    return label_from(read_verified(roots, row.root, row.path, row.sha256), row, classes, max_pixels=max_pixels)


def label_from(data: bytes, row: LabelRow, classes: ClassSet, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """As `load_label`, of the file's bytes."""
    limit = sum(row.counts) if max_pixels is None else max_pixels
    return decode_label(data, where=row.path, classes=classes, encoding=row.encoding, max_pixels=limit)


def load_confidence(roots: Roots, root: str, path: str, sha256: str, *, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) uint8, what each pixel of a label of this `shape` counts, 255 = 1. Raises DataError."""
    confidence = png.decode(read_verified(roots, root, path, sha256), where=path, max_pixels=shape[0] * shape[1])
    if confidence.shape != shape:
        raise LabelError(path, f"is {confidence.shape}, its label {shape} (height, width)")
    return confidence
