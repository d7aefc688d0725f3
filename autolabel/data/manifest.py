"""The manifest: which images and label maps there are, where they lie, and what bytes they hold.

`root` of a row names one of the folders a stage declares: "source" (the user's data), "data" (files inside the
manifest artefact), "labels" (the label artefact). `path` is relative to it, with forward slashes. Ids are free text.
The schema of the two tables is in `autolabel.data.tables` and described in data_manifest/README.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from autolabel.classes import ClassSet
from autolabel.data import tables
from autolabel.data.checks import check_images, check_labels
from autolabel.data.rows import ImageRow, LabelRow
from autolabel.errors import ManifestError
from autolabel.store.digest import canonical_json

IMAGES, LABELS, CLASSES = "images.parquet", "labels.parquet", "classes.json"

__all__ = ["CLASSES", "IMAGES", "LABELS", "ImageRow", "LabelRow", "Manifest"]


@dataclass(frozen=True)
class Manifest:
    """Checked on creation (ManifestError names the table and row) and then sorted by id, labels by id and role."""

    classes: ClassSet
    images: tuple[ImageRow, ...]
    labels: tuple[LabelRow, ...]

    def __post_init__(self) -> None:
        check_images(self.images, IMAGES)
        check_labels(self.labels, self.images, self.classes.num_classes, LABELS)
        object.__setattr__(self, "images", tuple(sorted(self.images, key=lambda row: row.id)))
        object.__setattr__(self, "labels", tuple(sorted(self.labels, key=lambda row: (row.image_id, row.role))))

    @cached_property
    def _images(self) -> dict[str, ImageRow]:
        return {row.id: row for row in self.images}

    @cached_property
    def _labels(self) -> dict[tuple[str, str], LabelRow]:
        return {(row.image_id, row.role): row for row in self.labels}

    def image(self, image_id: str) -> ImageRow:
        """Raises ManifestError where there is no such image."""
        if image_id not in self._images:
            raise ManifestError(IMAGES, f"has no image {image_id!r}")
        return self._images[image_id]

    def label(self, image_id: str, role: str) -> LabelRow | None:
        return self._labels.get((image_id, role))

    def split(self, split: str) -> list[ImageRow]:
        return [row for row in self.images if row.split == split]

    def to_files(self) -> dict[str, bytes]:
        """File name -> bytes; equal manifests give equal bytes."""
        return {
            IMAGES: tables.write(self.images, tables.IMAGE_SCHEMA),
            LABELS: tables.write(self.labels, tables.LABEL_SCHEMA),
            CLASSES: canonical_json(self.classes.to_dict()),
        }

    @classmethod
    def from_files(cls, read: Callable[[str], bytes]) -> Manifest:
        """The inverse of `to_files`, from anything that gives the bytes of a file name. Raises ManifestError."""
        return cls(
            classes=_read_classes(read(CLASSES)),
            images=tables.read_images(read(IMAGES), IMAGES),
            labels=tables.read_labels(read(LABELS), LABELS),
        )


def _read_classes(data: bytes) -> ClassSet:
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(CLASSES, f"not valid JSON: {error}") from error
    return ClassSet.from_dict(table, CLASSES)
