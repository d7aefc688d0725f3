"""The manifest: images and label maps, where their files are, and the digests of their bytes, as two parquet tables.

A row's `root` names one of the folders that a stage declares: "source" (the user's data), "data" (files inside the
manifest artefact) or "labels" (the label artefact). Its `path` is relative to this folder, with forward slashes. Ids
are free text. data_manifest/README.md describes the columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autolabel.classes import ClassSet
from autolabel.data.schema import ImageRow, LabelRow, check_images, check_labels
from autolabel.errors import DataError, ManifestError
from autolabel.labels.label_set import without_statement
from autolabel.store.files import canonical_json

_FILE = [("root", pa.string()), ("path", pa.string()), ("sha256", pa.string()), ("bytes", pa.int64())]

IMAGE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("group", pa.string()),
        *_FILE,
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
LABEL_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("role", pa.string()),
        ("encoding", pa.string()),
        *_FILE,
        ("counts", pa.list_(pa.int64())),
        ("provenance", pa.string()),
    ]
)


def write_table(rows: Sequence[ImageRow] | Sequence[LabelRow], schema: pa.Schema) -> bytes:
    """Parquet bytes of the rows in their order; equal rows give equal bytes."""
    columns = [pa.array([getattr(row, field.name) for row in rows], type=field.type) for field in schema]
    sink = BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def read_images(data: bytes, where: str) -> tuple[ImageRow, ...]:
    """Read the rows of a parquet file. Raises ManifestError unless it has IMAGE_SCHEMA and no empty cell."""
    return tuple(map(ImageRow, *_columns(data, IMAGE_SCHEMA, where)))


def read_labels(data: bytes, where: str) -> tuple[LabelRow, ...]:
    """Read the rows of a parquet file. Raises ManifestError unless it has LABEL_SCHEMA and no empty cell."""
    return tuple(map(LabelRow, *_columns(data, LABEL_SCHEMA, where)))


def _columns(data: bytes, schema: pa.Schema, where: str) -> list[list[Any]]:
    try:
        table = pq.ParquetFile(BytesIO(data)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(where, f"not a parquet file: {error}") from error
    _check_schema(table, schema, where)
    try:
        return [_values(table.column(field.name), field.type) for field in schema]
    except UnicodeDecodeError as error:
        raise ManifestError(where, f"holds text that is not UTF-8: {error}") from error


def _check_schema(table: pa.Table, schema: pa.Schema, where: str) -> None:
    odd = set(table.schema.names) ^ set(schema.names)
    if odd or len(table.schema.names) != len(schema.names):
        raise ManifestError(where, f"columns must be {', '.join(schema.names)}; missing, unknown or repeated: {odd}")
    for field in schema:
        column = table.column(field.name)
        if column.type != field.type:
            raise ManifestError(where, f"column {field.name!r} must be of type {field.type}, not {column.type}")
        empty = pc.is_null(column, nan_is_null=True)
        if pc.any(empty).as_py():
            raise ManifestError(f"{where} row {pc.index(empty, True).as_py()}", f"{field.name} is empty")


def _values(column: pa.ChunkedArray, dtype: pa.DataType) -> list[Any]:
    if not pa.types.is_list(dtype):
        cells: list[Any] = column.to_pylist()
        return cells
    # Twenty times faster than to_pylist if all lists have the same length, which `check_labels` demands anyway.
    lengths = pc.list_value_length(column).unique()
    values = pc.list_flatten(column)
    if len(lengths) == 1 and lengths[0].as_py() and not values.null_count:
        return list(map(tuple, values.to_numpy().reshape(len(column), -1).tolist()))
    return [tuple(value) for value in column.to_pylist()]


IMAGES, LABELS, CLASSES = "images.parquet", "labels.parquet", "classes.json"

__all__ = ["CLASSES", "IMAGES", "LABELS", "ImageRow", "LabelRow", "Manifest"]


@dataclass(frozen=True)
class Manifest:
    """Rows are checked on creation and sorted by id, labels also by role. Raises ManifestError with table and row."""

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
        """The row of an image. Raises ManifestError if there is no such image."""
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
            IMAGES: write_table(self.images, IMAGE_SCHEMA),
            LABELS: write_table(self.labels, LABEL_SCHEMA),
            CLASSES: canonical_json(self.classes.to_dict()),
        }

    @classmethod
    def from_files(cls, read: Callable[[str], bytes]) -> Manifest:
        """The inverse of `to_files`; `read` returns the bytes of a file name. Raises ManifestError."""
        return cls(
            classes=_read_classes(read(CLASSES)),
            images=read_images(read(IMAGES), IMAGES),
            labels=read_labels(read(LABELS), LABELS),
        )


def _read_classes(data: bytes) -> ClassSet:
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(CLASSES, f"not valid JSON: {error}") from error
    return ClassSet.from_dict(without_statement(table) if isinstance(table, dict) else table, CLASSES)


RowPair = tuple[ImageRow, LabelRow]


def training_rows(manifest: Manifest, roles: Sequence[str]) -> list[RowPair]:
    """Train images, each with its label of the first role in `roles` that it has; images without one are left out.

    Raises DataError if no image has one, and for role truth, which must never be trained on.
    """
    if "truth" in roles:
        raise DataError(
            "label roles", "'truth' is the hidden answer and may not be trained on", "use fine, coarse or auto"
        )
    pairs = [(row, label) for row in manifest.split("train") if (label := _first(manifest, row, roles)) is not None]
    if not pairs:
        raise DataError("manifest", f"no train image has a label of {' or '.join(roles)}", "choose other label layers")
    return pairs


def val_rows(manifest: Manifest) -> list[RowPair]:
    """Images of split val that have fine labels, with these."""
    return [(row, label) for row in manifest.split("val") if (label := manifest.label(row.id, "fine")) is not None]


def unlabelled_images(manifest: Manifest) -> list[ImageRow]:
    """Images that the teacher labels: those of split train without a fine label."""
    return [row for row in manifest.split("train") if manifest.label(row.id, "fine") is None]


def _first(manifest: Manifest, row: ImageRow, roles: Sequence[str]) -> LabelRow | None:
    labels = (manifest.label(row.id, role) for role in roles)
    return next((label for label in labels if label is not None), None)
