"""An append-only file of JSON rows: the finished items of a stage that may be killed.

Each line is `<crc32 in hex> <canonical JSON>`; the CRC continues from that of the previous line, so it detects a line
that is damaged, missing, moved or from another journal. Opening truncates the file at the first bad line; the items of
the rows after it are done again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from autolabel.store import durable
from autolabel.store.files import canonical_json, regular_lines

Row = dict[str, Any]


@dataclass(frozen=True)
class Parsed:
    rows: list[Row]
    size: int  # bytes up to the first bad line
    crc: int  # of the last good line; the next line's CRC starts from it


class Journal:
    """An open journal; makes the file if it is missing. Rows stay on the disk: a journal may be larger than memory.

    There is one writer at a time, under the lock of the work folder. No descriptor stays open between appends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        durable.ensure_file(path)
        self._size, self._crc = 0, 0
        for line in _good_lines(regular_lines(path)):
            self._size, self._crc = self._size + line.size, line.crc
        if self._size < path.stat().st_size:
            durable.truncate_file(path, self._size)

    @property
    def rows(self) -> list[Row]:
        """All rows that are durable."""
        return list(self.read())

    def read(self) -> Iterator[Row]:
        """The rows of `rows`, one by one."""
        size = 0
        for line in _good_lines(regular_lines(self.path)):
            if size == self._size:
                return
            size += line.size
            yield line.row

    def append(self, rows: Iterable[Row]) -> None:
        """Adds rows with one fsync; on return they are durable. After a StoreError none of them is in the file."""
        data, crc = encode(rows, self._crc)
        if not data:
            return
        durable.append_file(self.path, data, at=self._size)
        self._size, self._crc = self._size + len(data), crc


def encode(rows: Iterable[Row], crc: int = 0) -> tuple[bytes, int]:
    """The lines of rows that follow a line with this CRC, and the CRC of the last one."""
    lines = []
    for row in rows:
        text = canonical_json(row)
        crc = zlib.crc32(text, crc)
        lines.append(b"%08x %s\n" % (crc, text))
    return b"".join(lines), crc


def parse(data: bytes, crc: int = 0) -> Parsed:
    """The rows up to the first bad line; any bytes are accepted."""
    rows: list[Row] = []
    size = 0
    for line in _good_lines(BytesIO(data), crc):
        rows.append(line.row)
        size, crc = size + line.size, line.crc
    return Parsed(rows, size, crc)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a journal one by one, for a reader that must not change it."""
    return (line.row for line in _good_lines(regular_lines(path)))


class _Line(NamedTuple):
    row: Row
    size: int  # bytes
    crc: int


def _good_lines(lines: Iterable[bytes], crc: int = 0) -> Iterator[_Line]:
    """Lines up to the first bad one; one without an end is incomplete."""
    for line in lines:
        text = line[9:-1]
        crc = zlib.crc32(text, crc)
        if not line.endswith(b"\n") or line[:9] != b"%08x " % crc:
            return
        row = _row(text)
        if row is None:
            return
        yield _Line(row, len(line), crc)


def _row(text: bytes) -> Row | None:
    try:
        row = json.loads(text)
    except ValueError:  # a CRC can match by chance or by intent
        return None
    return row if isinstance(row, dict) else None
