"""`write_folder`: the folder is complete or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autolabel.errors import StoreError
from autolabel.store import write_folder
from autolabel.store.hooks import Effect, Phase, observe


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_it_appears_with_all_its_files(tmp_path: Path) -> None:
    seen = []

    def look(phase: Phase, effect: Effect) -> None:
        seen.append((tmp_path / "a" / "out").exists())

    with observe(look):
        write_folder(tmp_path / "a" / "out", [("x", b"1"), ("y/z", b"2")])
    assert (tmp_path / "a" / "out" / "x").read_bytes() == b"1"
    assert (tmp_path / "a" / "out" / "y" / "z").read_bytes() == b"2"
    assert names(tmp_path / "a") == ["out"]
    assert seen == sorted(seen)  # it stays once it exists; only the sync of its parent and the lock's removal follow
    assert sum(seen) == 5


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def items() -> Iterator[tuple[str, bytes]]:
        yield "x", b"1"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", items())
    assert names(tmp_path) == []


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-out").mkdir()
    (tmp_path / ".tmp-out" / "half").write_bytes(b"")
    write_folder(tmp_path / "out", [("x", b"1")])
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["x"]


def test_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="already exists"):
        write_folder(tmp_path / "out", [("x", b"1")])
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == []
