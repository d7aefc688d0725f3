"""The two kinds of rows in a manifest, and the words their columns may hold."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "val", "test")
ROLES = ("fine", "coarse", "auto", "truth")
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

    Roles: fine and coarse were drawn by people, auto by a teacher, truth is the hidden answer that only the audit may
    open. Encodings: `ids` and `train_ids` are 8-bit grey PNGs of the data set's ids or of train ids; `palette_ids` may
    also be a palette PNG whose indices are the data set's ids (Mapillary Vistas; refused elsewhere).
    `counts` holds the pixels of each of the K classes and then those of ignore.
    """

    image_id: str
    role: str  # one of ROLES
    encoding: str  # one of ENCODINGS
    root: str
    path: str
    sha256: str
    bytes: int
    counts: tuple[int, ...]
    provenance: str
