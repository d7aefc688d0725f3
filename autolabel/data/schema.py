"""The rows of a manifest: images and labels, the values of their columns, and the checks of both.

A check raises ManifestError for the first invalid row, with its table and position.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolabel.errors import ManifestError

SPLITS = ("train", "val", "test")
ROLES = ("fine", "coarse", "auto", "truth", "corrected")
ENCODINGS = ("ids", "train_ids", "palette_ids")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image; `group` is its city, sequence or folder, `bytes` the file size."""

    id: str
    split: str  # one of SPLITS
    group: str
    root: str
    path: str
    sha256: str
    bytes: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label map of an image.

    Roles: people drew fine and coarse labels, a teacher made auto labels, truth is the hidden answer that only the
    audit opens, and corrected is a label of the other roles with pixels that people have changed. Encodings: `ids` and
    `train_ids` are 8-bit grey PNGs of the data set's ids or of train ids;
    `palette_ids` may also be a palette PNG whose indices are the data set's ids (Mapillary Vistas; refused elsewhere).
    `values:2,0,1;255` is an 8-bit grey PNG with its own ids: the value of each class, then those of "no class".
    `counts` holds the pixels of each of the K classes, then those of ignore.
    """

    image_id: str
    role: str  # one of ROLES
    encoding: str  # one of ENCODINGS, or `values:...`
    root: str
    path: str
    sha256: str
    bytes: int
    counts: tuple[int, ...]
    provenance: str


_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ROOT = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


_VALUES = re.compile(r"values:([0-9]{1,3}(?:,[0-9]{1,3})*);([0-9]{1,3}(?:,[0-9]{1,3})*)", re.ASCII)


def values_encoding(values: Sequence[int], ignored: Sequence[int]) -> str:
    """The encoding of label maps whose ids are neither the data set's nor train ids."""
    return f"values:{','.join(map(str, values))};{','.join(map(str, ignored))}"


def encoded_values(encoding: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The inverse of `values_encoding`; None for any other text, and for values that repeat or exceed a byte."""
    match = _VALUES.fullmatch(encoding)
    if match is None:
        return None
    values, ignored = (tuple(map(int, group.split(","))) for group in match.groups())
    both = (*values, *ignored)
    return (values, ignored) if len({*both}) == len(both) and max(both) <= 255 else None


def unsafe_path(path: object) -> str | None:
    """The reason why `path` is no plain relative path below a root, or None if it is one.

    The check is lexical: links inside a data folder are the user's own and are followed.
    """
    if not isinstance(path, str) or not path:
        return "is empty"
    if "\0" in path:
        return "holds a NUL character"
    if path.startswith("/") or (os.name == "nt" and (Path(path).drive or "\\" in path)):
        return "is absolute"
    parts = path.split("/")
    if ".." in parts:
        return "leaves its root with '..'"
    if "" in parts or "." in parts:
        return "has an empty or '.' part"
    return None


def check_images(rows: Sequence[ImageRow], table: str) -> None:
    """Check the columns of each row, and that no id and no file occurs twice. Raises ManifestError."""
    ids, files = array("q"), array("q")
    for row in rows:
        if _image_problem(row) is not None:
            break
        ids.append(hash(row.id))
        files.append(hash((row.root, row.path)))
    else:
        if _differ(ids) and _differ(files):
            return
    _name_bad_image(rows, table)


def _name_bad_image(rows: Iterable[ImageRow], table: str) -> None:
    """Raise ManifestError for the first bad row. Two different ids may have one hash, so there may be none."""
    seen_ids: set[str] = set()
    seen_files: set[tuple[str, str]] = set()
    for index, row in enumerate(rows):
        problem = _image_problem(row)
        if problem is None and row.id in seen_ids:
            problem = "repeats the id of an earlier row"
        if problem is None and (row.root, row.path) in seen_files:
            problem = f"repeats the file {row.path!r} of an earlier row"
        if problem is not None:
            raise ManifestError(f"{table} row {index} (id {row.id!r})", problem)
        seen_ids.add(row.id)
        seen_files.add((row.root, row.path))


def check_labels(rows: Sequence[LabelRow], images: Iterable[ImageRow], num_classes: int, table: str) -> None:
    """As `check_images`; also check that the image exists and that the counts add up to its pixels."""
    pixels = {row.id: row.width * row.height for row in images}
    keys = array("q")
    for row in rows:
        if _label_problem(row, num_classes, pixels) is not None:
            break
        keys.append(hash((row.image_id, row.role)))
    else:
        if _differ(keys):
            return
    _name_bad_label(rows, pixels, num_classes, table)


def _name_bad_label(rows: Iterable[LabelRow], pixels: dict[str, int], num_classes: int, table: str) -> None:
    """As `_name_bad_image`."""
    seen: set[tuple[str, str]] = set()
    for index, row in enumerate(rows):
        problem = _label_problem(row, num_classes, pixels)
        if problem is None and (row.image_id, row.role) in seen:
            problem = f"is a second label of role {row.role!r}"
        if problem is not None:
            raise ManifestError(f"{table} row {index} (image {row.image_id!r}, role {row.role!r})", problem)
        seen.add((row.image_id, row.role))


def _differ(hashes: array[int]) -> bool:
    """Whether no two are equal. Eight bytes a row, where a set of texts takes two hundred."""
    import numpy as np

    return len(np.unique(np.frombuffer(hashes, np.int64))) == len(hashes)


def _image_problem(row: ImageRow) -> str | None:
    if not isinstance(row.id, str) or not row.id:
        return "the id is empty"
    if row.split not in SPLITS:
        return f"split {row.split!r} is none of {', '.join(SPLITS)}"
    if not isinstance(row.group, str):
        return "the group is no text"
    if not (_is_count(row.width) and _is_count(row.height) and row.width and row.height):
        return f"size {row.width!r} x {row.height!r} is not made of two positive whole numbers"
    return _file_problem(row)


def _label_problem(row: LabelRow, num_classes: int, pixels: dict[str, int]) -> str | None:
    if row.role not in ROLES:
        return f"role {row.role!r} is none of {', '.join(ROLES)}"
    if row.encoding not in ENCODINGS and not _has_values(row.encoding, num_classes):
        return f"encoding {row.encoding!r} is none of {', '.join(ENCODINGS)}"
    if row.image_id not in pixels:
        return "points at an image that the manifest does not have"
    if not isinstance(row.provenance, str):
        return "the provenance is no text"
    if len(row.counts) != num_classes + 1:
        return f"has {len(row.counts)} pixel counts for {num_classes} classes and ignore"
    if not all(map(_is_count, row.counts)):
        return "has a pixel count that is no whole number from 0"
    if sum(row.counts) != pixels[row.image_id]:
        return f"counts {sum(row.counts)} pixels, its image has {pixels[row.image_id]}"
    return _file_problem(row)


def _has_values(encoding: object, num_classes: int) -> bool:
    values = encoded_values(encoding) if isinstance(encoding, str) else None
    return values is not None and len(values[0]) == num_classes


def _file_problem(row: ImageRow | LabelRow) -> str | None:
    if not isinstance(row.root, str) or not _ROOT.fullmatch(row.root):
        return f"root {row.root!r} is no name of a root"
    unsafe = unsafe_path(row.path)
    if unsafe is not None:
        return f"path {row.path!r} {unsafe}"
    if not isinstance(row.sha256, str) or not _SHA256.fullmatch(row.sha256):
        return "sha256 is not 64 hexadecimal digits"
    if not _is_count(row.bytes):
        return f"bytes {row.bytes!r} is no whole number from 0"
    return None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
