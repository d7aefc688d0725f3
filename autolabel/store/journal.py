"""An append-only file of JSON rows: the finished items of a stage that may be killed.

Each line is `<crc32 in hex> <canonical JSON>`; the CRC continues from that of the previous line, so it detects a line
that is damaged, missing, moved or from another journal. Opening truncates the file at the first bad line; the items of
the rows after it are done again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.store import durable
from autolabel.store.files import canonical_json, read_regular

Row = dict[str, Any]


@dataclass(frozen=True)
class Parsed:
    rows: list[Row]
    size: int  # bytes up to the first bad line
    crc: int  # of the last good line; the next line's CRC starts from it


class Journal:
    """An open journal; makes the file if it is missing. `rows` are all rows that are durable.

    There is one writer at a time, under the lock of the work folder. No descriptor stays open between appends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        durable.ensure_file(path)
        data = read_regular(path)
        parsed = parse(data)
        self.rows, self._size, self._crc = parsed.rows, parsed.size, parsed.crc
        if self._size < len(data):
            durable.truncate_file(path, self._size)

    def append(self, rows: Iterable[Row]) -> None:
        """Adds rows with one fsync; on return they are durable. After a StoreError none of them is in the file."""
        data, crc = encode(rows, self._crc)
        if not data:
            return
        durable.append_file(self.path, data, at=self._size)
        # parsed again: `rows` must equal what a later run will read (lists for tuples)
        self.rows.extend(parse(data, self._crc).rows)
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
    for line in data.split(b"\n")[:-1]:  # the text after the last newline is an incomplete line
        text = line[9:]
        following = zlib.crc32(text, crc)
        if line[:9] != b"%08x " % following:
            break
        row = _row(text)
        if row is None:
            break
        rows.append(row)
        size, crc = size + len(line) + 1, following
    return Parsed(rows, size, crc)


def _row(text: bytes) -> Row | None:
    try:
        row = json.loads(text)
    except ValueError:  # a CRC can match by chance or by intent
        return None
    return row if isinstance(row, dict) else None
