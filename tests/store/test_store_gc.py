from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.errors import StoreError
from autolabel.store import Artefact, delete, open_draft, scan, set_aside
from autolabel.store.hooks import observe

KEYS = [digit * 64 for digit in "0123"]


def commit(folder: Path, key: str) -> Artefact:
    draft = open_draft(folder, key)
    draft.write("x", b"12345")
    return draft.commit(meta={}, provenance={})


def test_scan_tells_what_is_there(tmp_path: Path) -> None:
    assert scan(tmp_path / "none") == []
    whole = commit(tmp_path / "label", KEYS[0])
    set_aside(commit(tmp_path / "label", KEYS[1]).path)
    set_aside(commit(tmp_path / "label", KEYS[1]).path)
    open_draft(tmp_path / "codes", KEYS[2])
    (tmp_path / "codes" / ".trash-0123456789abcdef").mkdir()
    (tmp_path / "codes" / "notes").mkdir()
    (tmp_path / "codes" / KEYS[3][:16]).symlink_to(whole.path)
    (tmp_path / "file").write_bytes(b"")
    found = scan(tmp_path)
    assert [(f.node, f.path.name, f.key, f.kind) for f in found] == [
        ("codes", ".trash-0123456789abcdef", "0123456789abcdef", "trash"),
        ("codes", "2" * 16 + ".partial", "2" * 16, "draft"),
        ("label", "0" * 16, "0" * 16, "committed"),
        ("label", "1" * 16 + ".corrupt-1", "1" * 16, "corrupt"),
        ("label", "1" * 16 + ".corrupt-2", "1" * 16, "corrupt"),
    ]
    assert found[2].num_bytes() == sum(path.stat().st_size for path in whole.path.rglob("*") if path.is_file())


def test_delete_takes_what_scan_found_and_nothing_else(tmp_path: Path) -> None:
    whole = commit(tmp_path / "label", KEYS[0])
    (tmp_path / "label" / ".trash-0123456789abcdef").mkdir()
    (tmp_path / "label" / "notes").mkdir()
    with pytest.raises(StoreError, match="not an artefact"):
        delete(tmp_path / "label" / "notes")
    with pytest.raises(StoreError, match="not an artefact"):
        delete(tmp_path / "label" / "missing")
    (whole.data / "link").symlink_to(tmp_path / "label" / "notes")
    for found in scan(tmp_path):
        delete(found.path)
    assert [path.name for path in (tmp_path / "label").iterdir()] == ["notes"]


def test_trash_of_a_killed_delete_is_trash_for_good_before_its_files_go(tmp_path: Path) -> None:
    """Its name may not be durable yet: a power cut would bring half an artefact back."""
    trash = commit(tmp_path / "label", KEYS[0]).path.rename(tmp_path / "label" / ".trash-0123456789abcdef")
    kinds: list[tuple[str, Path]] = []
    with observe(lambda phase, effect: kinds.append((effect.kind, effect.path))):
        delete(trash)
    assert kinds[0] == ("fsync_folder", tmp_path / "label")
