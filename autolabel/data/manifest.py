"""The manifest: images and label maps, where their files are, and the digests of their bytes, as two parquet tables.

A row's `root` names one of the folders that a stage declares: "source" (the user's data), "data" (files inside the
manifest artefact) or "labels" (the label artefact). Its `path` is relative to this folder, with forward slashes. Ids
are free text. data_manifest/README.md describes the columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autolabel.classes import ClassSet
from autolabel.data.rows import Pairs, Rows
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


def write_table(rows: Rows[ImageRow] | Rows[LabelRow]) -> bytes:
    """Parquet bytes of the rows in their order; equal rows give equal bytes."""
    sink = BytesIO()
    pq.write_table(rows.table, sink, compression="zstd")
    return sink.getvalue()


def image_rows(rows: Iterable[ImageRow]) -> Rows[ImageRow]:
    """The rows in columns. Raises pyarrow's errors for a cell that its column cannot hold."""
    return Rows.of(ImageRow, IMAGE_SCHEMA, rows)


def label_rows(rows: Iterable[LabelRow]) -> Rows[LabelRow]:
    """As `image_rows`."""
    return Rows.of(LabelRow, LABEL_SCHEMA, rows)


def read_images(data: bytes, where: str) -> Rows[ImageRow]:
    """Read the rows of a parquet file. Raises ManifestError unless it has IMAGE_SCHEMA and no empty cell."""
    return Rows(ImageRow, _table(data, IMAGE_SCHEMA, where))


def read_labels(data: bytes, where: str) -> Rows[LabelRow]:
    """Read the rows of a parquet file. Raises ManifestError unless it has LABEL_SCHEMA and no empty cell."""
    return Rows(LabelRow, _table(data, LABEL_SCHEMA, where))


def _table(data: bytes, schema: pa.Schema, where: str) -> pa.Table:
    try:
        table = pq.ParquetFile(BytesIO(data)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(where, f"not a parquet file: {error}") from error
    _check_schema(table, schema, where)
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise ManifestError(where, f"holds text that is not UTF-8: {error}") from error
    return pa.Table.from_arrays([table.column(name) for name in schema.names], schema=schema)  # no foreign metadata


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


IMAGES, LABELS, CLASSES = "images.parquet", "labels.parquet", "classes.json"

__all__ = ["CLASSES", "IMAGES", "LABELS", "ImageRow", "LabelRow", "Manifest"]


@dataclass(frozen=True)
class Manifest:
    """Rows are checked on creation and sorted by id, labels also by role. Raises ManifestError with table and row.

    They stay in columns: 100,000 images take some 100 MB.
    """

    classes: ClassSet
    images: Sequence[ImageRow]
    labels: Sequence[LabelRow]

    def __post_init__(self) -> None:
        check_images(self.images, IMAGES)
        check_labels(self.labels, self.images, self.classes.num_classes, LABELS)
        images = self.images if isinstance(self.images, Rows) else image_rows(self.images)
        labels = self.labels if isinstance(self.labels, Rows) else label_rows(self.labels)
        object.__setattr__(self, "images", images.sorted_by("id"))
        object.__setattr__(self, "labels", labels.sorted_by("image_id", "role"))

    @property
    def image_table(self) -> Rows[ImageRow]:
        """`images`, column by column."""
        assert isinstance(self.images, Rows)
        return self.images

    @property
    def label_table(self) -> Rows[LabelRow]:
        """`labels`, column by column."""
        assert isinstance(self.labels, Rows)
        return self.labels

    def image(self, image_id: str) -> ImageRow:
        """The row of an image. Raises ManifestError if there is no such image."""
        position = self.image_table.position("id", image_id)
        row = self.images[position] if position < len(self.images) else None
        if row is None or row.id != image_id:
            raise ManifestError(IMAGES, f"has no image {image_id!r}")
        return row

    def images_of(self, ids: pa.Array) -> Rows[ImageRow]:
        """The rows of these images, in the order of `ids`; for an id without an image a row without values."""
        return self.image_table.take(pc.index_in(ids, value_set=self.image_table.column("id")))

    def label(self, image_id: str, role: str) -> LabelRow | None:
        ids, roles = self.label_table.column("image_id"), self.label_table.column("role")
        position = self.label_table.position("image_id", image_id)
        while position < len(ids) and ids[position].as_py() == image_id:
            if roles[position].as_py() == role:
                return self.labels[position]
            position += 1
        return None

    def split(self, split: str) -> Rows[ImageRow]:
        return self.image_table.where(pc.equal(self.image_table.column("split"), split))

    def to_files(self) -> dict[str, bytes]:
        """File name -> bytes; equal manifests give equal bytes."""
        return {
            IMAGES: write_table(self.image_table),
            LABELS: write_table(self.label_table),
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


RowPairs = Pairs[ImageRow, LabelRow]


def training_rows(manifest: Manifest, roles: Sequence[str]) -> RowPairs:
    """Train images, each with its label of the first role in `roles` that it has; images without one are left out.

    Raises DataError if no image has one, and for role truth, which must never be trained on.
    """
    if "truth" in roles:
        raise DataError(
            "label roles", "'truth' is the hidden answer and may not be trained on", "use fine, coarse or auto"
        )
    pairs = labelled_images(manifest, "train", *roles)
    if not pairs:
        raise DataError("manifest", f"no train image has a label of {' or '.join(roles)}", "choose other label layers")
    return pairs


def val_rows(manifest: Manifest) -> RowPairs:
    """Images of split val that have fine labels, with these."""
    return labelled_images(manifest, "val", "fine")


def train_labels(data: Manifest, *label_sets: Manifest) -> Iterator[LabelRow]:
    """All labels of the train images of `data`: its own, and then those of label sets."""
    ids = data.split("train").column("id")
    for labels in (manifest.label_table for manifest in (data, *label_sets)):
        yield from labels.where(pc.is_in(labels.column("image_id"), value_set=ids))


def unlabelled_images(manifest: Manifest) -> Rows[ImageRow]:
    """Images that the teacher labels: those of split train without a fine label."""
    train = manifest.split("train")
    fine = manifest.label_table.where(pc.equal(manifest.label_table.column("role"), "fine"))
    return train.where(pc.invert(pc.is_in(train.column("id"), value_set=fine.column("image_id"))))


def labelled_images(manifest: Manifest, split: str, *roles: str) -> RowPairs:
    """Images of a split, each with its label of the first role that it has; images without one are left out."""
    images, labels = manifest.split(split), manifest.label_table
    chosen = pa.nulls(len(images), pa.uint64())  # position of each image's label
    for role in roles:
        positions = pc.indices_nonzero(pc.equal(labels.column("role"), role))
        found = pc.index_in(images.column("id"), value_set=labels.column("image_id").take(positions))
        chosen = pc.coalesce(chosen, positions.take(found))
    has_label = pc.is_valid(chosen)
    return Pairs(images.where(has_label), labels.take(chosen.filter(has_label)))
