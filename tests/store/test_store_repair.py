"""Damaged artefacts are restored from copies of their files, or set aside."""

from __future__ import annotations

from pathlib import Path

from autolabel.store import Artefact, open_draft
from autolabel.store.repair import repair

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
