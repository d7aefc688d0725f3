from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import StoreError
from autolabel.store import Journal
from autolabel.store.journal import encode, parse, read_rows

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=6)


@pytest.mark.slow
@given(ROWS)
def test_rows_come_back(rows: list[dict[str, Any]]) -> None:
    data, crc = encode(rows)
    parsed = parse(data)
    assert (parsed.rows, parsed.size, parsed.crc) == (rows, len(data), crc)


@pytest.mark.slow
@given(ROWS, st.data())
def test_any_damage_leaves_a_prefix(rows: list[dict[str, Any]], draw: st.DataObject) -> None:
    data = bytearray(encode(rows)[0])
    cut = draw.draw(st.integers(0, len(data)))
    damaged = bytearray(data[:cut])
    if damaged:
        for bit in draw.draw(st.lists(st.integers(0, 8 * len(damaged) - 1), max_size=3, unique=True)):
            damaged[bit // 8] ^= 1 << bit % 8
    parsed = parse(bytes(damaged))
    assert parsed.rows == rows[: len(parsed.rows)]
    assert bytes(damaged[: parsed.size]) == encode(parsed.rows)[0]
    unharmed = next((i for i, (a, b) in enumerate(zip(damaged, data, strict=False)) if a != b), len(damaged))
    assert len(parsed.rows) == data[:unharmed].count(b"\n")  # only damaged rows are lost


@pytest.mark.slow
@given(ROWS, st.data())
def test_lines_lost_or_moved_are_noticed(rows: list[dict[str, Any]], draw: st.DataObject) -> None:
    lines = encode(rows)[0].splitlines(keepends=True)
    other = draw.draw(st.lists(st.sampled_from(lines), max_size=6)) if lines else []
    parsed = parse(b"".join(other))
    assert parsed.rows == rows[: len(parsed.rows)]


@given(st.binary(max_size=200))
def test_any_bytes_are_accepted(data: bytes) -> None:
    assert parse(data).size <= len(data)


def test_a_row_that_is_no_table_ends_it() -> None:
    good, crc = encode([{"a": 1}])
    assert parse(good + encode([[1]], crc)[0]).rows == [{"a": 1}]  # type: ignore[list-item]


def test_journal_goes_on_after_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "items"
    journal = Journal(path)
    journal.append([{"id": "a", "size": (1, 2)}])
    journal.append([])
    journal.append([{"id": "b"}])
    assert journal.rows == [{"id": "a", "size": [1, 2]}, {"id": "b"}]
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    again = Journal(path)
    assert again.rows == [{"id": "a", "size": [1, 2]}]
    again.append([{"id": "b"}])
    assert path.read_bytes() == whole
    assert Journal(path).rows == journal.rows


def test_two_writers_are_noticed(tmp_path: Path) -> None:
    one, two = Journal(tmp_path / "x"), Journal(tmp_path / "x")
    one.append([{"a": 1}])
    with pytest.raises(StoreError, match="one run at a time"):
        two.append([{"a": 2}])
    assert two.rows == []


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x")
    journal.append([{"n": 1}, {"n": 2}])
    rows = journal.read()
    assert next(rows) == {"n": 1}
    journal.append([{"n": 3}])
    assert list(rows) == [{"n": 2}, {"n": 3}]
    with (tmp_path / "x").open("ab") as file:  # whole, but not known to be durable
        file.write(encode([{"n": 4}], encode([{"n": n} for n in (1, 2, 3)])[1])[0] + b"cut sh")
    assert [row["n"] for row in journal.read()] == [1, 2, 3]
    assert [row["n"] for row in read_rows(tmp_path / "x")] == [1, 2, 3, 4]


def test_a_line_ends_at_a_newline_only() -> None:
    data = encode([{"a": 1}])[0]
    text = b'{"a": 1}\r'  # JSON allows the "\r", and its CRC fits
    other = b"%08x %s\n" % (zlib.crc32(text), text)
    assert parse(data).rows == parse(other).rows == [{"a": 1}]
    assert parse(other).size == len(other)
