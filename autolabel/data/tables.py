"""Manifest rows to and from parquet bytes. Contents are judged in `checks`; here only the form is."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autolabel.data.rows import ImageRow, LabelRow
from autolabel.errors import ManifestError

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


def write(rows: Sequence[ImageRow] | Sequence[LabelRow], schema: pa.Schema) -> bytes:
    """Parquet bytes of these rows, in their order; the same rows give the same bytes."""
    columns = [pa.array([getattr(row, field.name) for row in rows], type=field.type) for field in schema]
    sink = BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def read_images(data: bytes, where: str) -> tuple[ImageRow, ...]:
    """Raises ManifestError where the bytes are no parquet file of IMAGE_SCHEMA or hold an empty cell."""
    return tuple(map(ImageRow, *_columns(data, IMAGE_SCHEMA, where)))


def read_labels(data: bytes, where: str) -> tuple[LabelRow, ...]:
    """Raises ManifestError where the bytes are no parquet file of LABEL_SCHEMA or hold an empty cell."""
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


def _values(column: pa.ChunkedArray, kind: pa.DataType) -> list[Any]:
    if not pa.types.is_list(kind):
        return column.to_pylist()
    # Twenty times faster than to_pylist where all lists are of one length, which `checks` demands anyway.
    lengths = pc.list_value_length(column).unique()
    values = pc.list_flatten(column)
    if len(lengths) == 1 and lengths[0].as_py() and not values.null_count:
        return list(map(tuple, values.to_numpy().reshape(len(column), -1).tolist()))
    return [tuple(value) for value in column.to_pylist()]
