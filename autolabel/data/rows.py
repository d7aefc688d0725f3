"""Rows of a table that stay in columns: a row becomes an object when it is asked for.

100,000 rows take some 30 MB in columns and five times as much as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_Row = TypeVar("_Row")
_One = TypeVar("_One")
_Other = TypeVar("_Other")
_BATCH = 1024  # rows that are objects at once while all are read in order


class Rows(Sequence[_Row]):
    """The rows of `table`, each made by `make` from its cells in the order of the columns."""

    def __init__(self, make: type[_Row], table: pa.Table) -> None:
        self._make, self.table = make, table.combine_chunks()

    @classmethod
    def of(cls, make: type[_Row], schema: pa.Schema, rows: Iterable[_Row]) -> Rows[_Row]:
        """`rows` has an attribute for each field of the schema. Raises pyarrow's errors for cells of another type."""
        found = RowsBuilder(make, schema)
        for row in rows:
            found.add(row)
        return found.rows()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, index: int) -> _Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Row]: ...
    def __getitem__(self, index: int | slice) -> _Row | Sequence[_Row]:
        number = range(len(self))[index]
        if isinstance(number, int):
            return self._made(self.table.slice(number, 1))[0]
        if number.step == 1:
            return Rows(self._make, self.table.slice(number.start, len(number)))
        return self.take(pa.array(number, pa.int64()))

    def __iter__(self) -> Iterator[_Row]:
        for start in range(0, len(self), _BATCH):
            yield from self._made(self.table.slice(start, _BATCH))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows):
            return bool(self.table.equals(other.table))
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_equal, self, other))

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def column(self, name: str) -> pa.Array:
        """The cells of a column."""
        chunks = self.table.column(name).chunks
        return chunks[0] if chunks else pa.array([], self.table.schema.field(name).type)

    def joined(self, other: Rows[_Row]) -> Rows[_Row]:
        """These rows and then the other ones, of the same columns."""
        return Rows(self._make, pa.concat_tables([self.table, other.table]))

    def take(self, indices: pa.Array) -> Rows[_Row]:
        """The rows at these positions, in their order."""
        return Rows(self._make, self.table.take(indices))

    def where(self, mask: pa.Array) -> Rows[_Row]:
        """The rows whose cell in `mask` is true, in order."""
        return Rows(self._make, self.table.filter(mask))

    def sorted_by(self, *names: str) -> Rows[_Row]:
        """By the code points of text columns, as Python compares text."""
        order = pc.sort_indices(self.table, sort_keys=[(name, "ascending") for name in names])
        if order.equals(pa.array(np.arange(len(self), dtype=np.uint64))):
            return self  # as our own files are: no second copy
        return self.take(order)

    def position(self, name: str, value: str) -> int:
        """The first position whose cell is `value` or greater, in a sorted column of text."""
        column, low, high = self.column(name), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if column[middle].as_py() < value else (low, middle)
        return low

    def _made(self, table: pa.Table) -> list[_Row]:
        return list(map(self._make, *(cells(column) for column in table.columns)))


class RowsBuilder(Generic[_Row]):
    """Rows that come one by one; only the last of them are objects."""

    def __init__(self, make: type[_Row], schema: pa.Schema) -> None:
        self._make, self._schema = make, schema
        self._batches: list[pa.RecordBatch] = []
        self._last: list[_Row] = []

    def add(self, row: _Row) -> None:
        """Raises pyarrow's errors for a cell that its column cannot hold, perhaps of an earlier row."""
        self._last.append(row)
        if len(self._last) == _BATCH:
            self._flush()

    def rows(self) -> Rows[_Row]:
        """All rows so far, in their order."""
        self._flush()
        return Rows(self._make, pa.Table.from_batches(self._batches, schema=self._schema))

    def _flush(self) -> None:
        if self._last:
            cells = ([getattr(row, field.name) for row in self._last] for field in self._schema)
            columns = [pa.array(column, type=field.type) for column, field in zip(cells, self._schema, strict=True)]
            self._batches.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
            self._last = []


class Pairs(Sequence[tuple[_One, _Other]], Generic[_One, _Other]):
    """Two sequences of one length, side by side."""

    def __init__(self, first: Sequence[_One], second: Sequence[_Other]) -> None:
        assert len(first) == len(second)
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first)

    @overload
    def __getitem__(self, index: int) -> tuple[_One, _Other]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[_One, _Other]]: ...
    def __getitem__(self, index: int | slice) -> tuple[_One, _Other] | Sequence[tuple[_One, _Other]]:
        if isinstance(index, slice):
            return Pairs(self.first[index], self.second[index])
        return self.first[index], self.second[index]

    def __iter__(self) -> Iterator[tuple[_One, _Other]]:
        return zip(self.first, self.second, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_equal, self, other))

    __hash__ = None  # type: ignore[assignment]


def _equal(one: object, other: object) -> bool:
    return one == other


def cells(column: pa.ChunkedArray) -> list[Any]:
    """The cells of a column; a list is a tuple."""
    if not pa.types.is_list(column.type):
        plain: list[Any] = column.to_pylist()
        return plain
    # Twenty times faster than to_pylist if all lists have the same length, as the counts of a manifest's labels do.
    lengths = pc.list_value_length(column).unique()
    values = pc.list_flatten(column)
    if len(lengths) == 1 and lengths[0].as_py() and not values.null_count:
        return list(map(tuple, values.to_numpy().reshape(len(column), -1).tolist()))
    return [tuple(value) for value in column.to_pylist()]
