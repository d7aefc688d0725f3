"""Damaged artefacts are restored from copies of their files, or set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.store import Artefact, open_draft
from autolabel.store.repair import repair
from tests.helpers.unreadable import unreadable

KEY = "0123456789abcdef" * 4


def commit(folder: Path, **files: bytes) -> Artefact:
    draft = open_draft(folder, KEY)
    for name, data in files.items():
        draft.write(name, data)
    return draft.commit(meta={}, provenance={})


def test_a_file_with_an_intact_copy_is_restored(tmp_path: Path) -> None:
    damaged = commit(tmp_path / "a", x=b"same", y=b"only here")
    commit(tmp_path / "b", z=b"same")
    damaged.file("x").write_bytes(b"SAME")
    (repaired,) = repair(tmp_path)
    assert (repaired.item.path, repaired.restored, repaired.aside) == (damaged.path, ("data/x",), None)
    assert damaged.verify(full=True) == []
    assert list(repair(tmp_path)) == []


def test_what_has_no_intact_copy_is_set_aside(tmp_path: Path) -> None:
    damaged, other = commit(tmp_path / "a", x=b"same", y=b"only here"), commit(tmp_path / "b", z=b"same")
    damaged.file("x").write_bytes(b"SAME")
    damaged.file("y").write_bytes(b"ONLY HERE")
    (repaired,) = repair(tmp_path)
    assert (repaired.restored, repaired.unreadable) == (("data/x",), False)
    assert repaired.problems == tuple(f"data/{name}: its bytes differ from what was committed" for name in "xy")
    assert repaired.aside is not None
    assert (repaired.aside / "data" / "y").read_bytes() == b"ONLY HERE"
    assert not damaged.path.exists()
    assert other.verify(full=True) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_file_that_cannot_be_read_now_is_no_reason_to_set_aside(tmp_path: Path, damaged: bool) -> None:
    made = commit(tmp_path / "a", x=b"same", y=b"only here")
    if damaged:
        made.file("y").write_bytes(b"ONLY HERE")
    with unreadable(made.path / "provenance.json"):
        (repaired,) = repair(tmp_path)
    assert repaired.unreadable
    assert (repaired.aside is not None) == damaged
    assert made.path.exists() != damaged


def test_a_copy_may_lie_in_a_damaged_artefact_and_must_be_intact(tmp_path: Path) -> None:
    one, two, three = (commit(tmp_path / name, x=b"same", y=name.encode()) for name in "abc")
    one.file("x").write_bytes(b"SAME")
    two.file("x").write_bytes(b"ALSO")
    three.file("y").write_bytes(b"C")
    found = {repaired.item.node: (repaired.restored, repaired.aside is None) for repaired in repair(tmp_path)}
    assert found == {"a": (("data/x",), True), "b": (("data/x",), True), "c": ((), False)}


def test_a_folder_in_place_of_a_file_is_kept(tmp_path: Path) -> None:
    made = commit(tmp_path / "a", x=b"same")
    commit(tmp_path / "b", x=b"same")
    made.file("x").unlink()
    made.file("x").mkdir()
    (repaired,) = repair(tmp_path)
    assert (repaired.restored, repaired.problems) == ((), ("data/x: missing",))
    assert repaired.aside is not None
    assert (repaired.aside / "data" / "x").is_dir()


def test_an_artefact_without_its_record_is_set_aside(tmp_path: Path) -> None:
    made = commit(tmp_path / "a", x=b"same")
    (made.path / "COMMIT").unlink()
    (repaired,) = repair(tmp_path)
    assert (repaired.item.path, repaired.problems) == (made.path, ("COMMIT: No such file or directory",))
    assert repaired.aside is not None
