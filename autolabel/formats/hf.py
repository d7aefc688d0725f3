"""Hugging Face: parquet files with embedded images and masks, which `datasets.load_dataset` reads.

Columns: `image` and `mask` (structs of `bytes` and `path`, feature Image) and `name`. A mask is a grey PNG of train
ids, 255 = ignore. The class names are in the metadata of each file, key "autolabel".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.classes import ClassSet
from autolabel.errors import DataError, LabelError
from autolabel.formats.base import (
    ExportItem,
    ExportOptions,
    FileItem,
    ForeignImage,
    ForeignLabels,
    ImportOptions,
    LabelMap,
    check_names,
)
from autolabel.formats.documents import field, parse_json
from autolabel.formats.masks import colours_of, decoded, plain_classes
from autolabel.labels import png

_SHARD = 256_000_000  # bytes of images in a file
_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_COLUMNS = [("image", _FILE), ("mask", _FILE), ("name", pa.string())]
_FEATURES = {"image": {"_type": "Image"}, "mask": {"_type": "Image"}, "name": {"dtype": "string", "_type": "Value"}}


class HfWriter:
    """The files are named by their number; all are whole before the number of files is known to be final."""

    def __init__(self, options: ExportOptions) -> None:
        self._split = options.split
        classes = {"classes": options.classes.names, "palette": options.classes.palette, "ignore": 255}
        metadata = {"huggingface": json.dumps({"info": {"features": _FEATURES}}), "autolabel": json.dumps(classes)}
        self._schema = pa.schema(_COLUMNS, metadata=metadata)
        self._rows: list[dict[str, Any]] = []
        self._bytes = self._number = 0

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        if item.image is None:
            raise DataError(item.name, "is not at hand, and this format holds the images", "give them with --images")
        mask = png.encode(item.labels)
        image = {"bytes": item.image, "path": item.image_file}
        self._rows.append({"image": image, "mask": {"bytes": mask, "path": f"{item.stem}.png"}, "name": item.name})
        self._bytes += len(item.image) + len(mask)
        if self._bytes >= _SHARD:
            yield from self._shard()

    def finish(self) -> Iterator[FileItem]:
        if self._rows or not self._number:
            yield from self._shard()

    def _shard(self) -> Iterator[FileItem]:
        sink = pa.BufferOutputStream()
        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        pq.write_table(table, sink, compression="none", row_group_size=100)  # the images are compressed already
        yield f"data/{self._split}-{self._number:05}.parquet", sink.getvalue().to_pybytes()
        self._rows, self._bytes, self._number = [], 0, self._number + 1


def read(path: Path, options: ImportOptions) -> ForeignLabels:
    """The rows of one parquet file, or of all below a folder. Raises DataError."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(path, "holds no parquet file", "give the folder of the data set")
    names, palette = _classes(files[0], options)
    classes = plain_classes(names) if options.table is None else options.table
    images = [image for file in files for image in _images(file, classes)]
    return ForeignLabels(names, palette, images)


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(file, f"is no parquet file: {error}", "download it again") from error


def _classes(file: Path, options: ImportOptions) -> tuple[tuple[str, ...], Any]:
    if options.table is not None:
        return options.names, options.table.palette
    metadata = _open(file).schema_arrow.metadata or {}
    if b"autolabel" not in metadata:
        raise DataError(file, "does not name its classes", "give a class file with --classes")
    table = parse_json(metadata[b"autolabel"], file)
    names = check_names(field(table, "classes", list, file), file)
    return names, colours_of(table.get("palette"), len(names))


def _images(file: Path, classes: ClassSet) -> Iterator[ForeignImage]:
    schema = _open(file).schema_arrow
    mask = next((name for name in ("mask", "annotation", "label") if name in schema.names), None)
    if mask is None or "image" not in schema.names:
        raise DataError(file, f"has the columns {', '.join(schema.names)}", "it needs 'image' and 'mask'")
    for column in ("image", mask):
        if not pa.types.is_struct(schema.field(column).type) or schema.field(column).type.get_field_index("bytes") < 0:
            raise DataError(
                file, f"column {column!r} does not hold files", "embed the files when you save the data set"
            )
    columns = ["image.path", *(["name"] if "name" in schema.names else [])]
    rows = _open(file).read(columns=columns).to_pylist()
    for index, row in enumerate(rows):
        name = row.get("name") or row["image"]["path"] or f"{file.stem}/{index:06}"
        where = f"{file}: row {index}"
        draw = partial(_draw, file=file, row=index, column=mask, classes=classes, where=where)
        image = partial(_cell, file, index, "image", where)
        yield ForeignImage(str(name), None, where, draw, image=image)


def _draw(height: int, width: int, *, file: Path, row: int, column: str, classes: ClassSet, where: str) -> LabelMap:
    return decoded(_cell(file, row, column, where), height, width, where, classes, "palette_ids")


def _cell(file: Path, row: int, column: str, where: str) -> bytes:
    """The bytes in one cell; only its row group is read."""
    parquet = _open(file)
    try:
        for group in range(parquet.num_row_groups):
            number = parquet.metadata.row_group(group).num_rows
            if row < number:
                cells = parquet.read_row_group(group, columns=[f"{column}.bytes"]).column(column)
                data = cells[row]["bytes"].as_py()
                break
            row -= number
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(where, f"cannot be read: {error}", "download the file again") from error
    if not isinstance(data, bytes):
        raise LabelError(where, f"column {column!r} is empty", "remove the row, or embed the file")
    return data
