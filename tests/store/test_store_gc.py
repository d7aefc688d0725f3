from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from autolabel.errors import ConfigError, StoreError
from autolabel.store import (
    WORK_MARK,
    Artefact,
    delete,
    ensure_mark,
    find,
    open_draft,
    recover,
    require_mark,
    scan,
    set_aside,
)
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


def test_a_folder_of_the_user_whose_name_looks_like_ours_is_not_ours(tmp_path: Path) -> None:
    names = (KEYS[0][:16], f"{KEYS[1][:16]}.partial", f"{KEYS[2][:16]}.corrupt-1", f".trash-{KEYS[3][:16]}")
    for name in names:
        (tmp_path / "label" / name / "data").mkdir(parents=True)
        (tmp_path / "label" / name / "data" / "holiday.jpg").write_bytes(b"mine")
    assert scan(tmp_path) == []
    for name in names:
        with pytest.raises(StoreError, match="not an artefact"):
            delete(tmp_path / "label" / name)
    open_draft(tmp_path / "label", KEYS[1]).write("x", b"1")
    assert [found.path.name for found in scan(tmp_path)] == [names[1]], "a draft that was continued here is ours"


@pytest.mark.parametrize("gone", ["COMMIT", "manifest.json", "provenance.json"])
def test_a_damaged_artefact_is_still_ours(tmp_path: Path, gone: str) -> None:
    (commit(tmp_path / "label", KEYS[0]).path / gone).unlink()
    assert [found.kind for found in scan(tmp_path)] == ["committed"]


def test_a_link_in_place_of_a_step_leads_nowhere(tmp_path: Path) -> None:
    """Another project's artefacts are neither listed nor found, deleted, or put aside."""
    theirs = commit(tmp_path / "theirs" / "label", KEYS[0])
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "label").symlink_to(tmp_path / "theirs" / "label")
    assert scan(tmp_path / "ours") == []
    with pytest.raises(StoreError, match="not an artefact"):
        delete(tmp_path / "ours" / "label" / KEYS[0][:16])
    for act in (find, recover, open_draft):
        with pytest.raises(StoreError, match="is a symbolic link"):
            act(tmp_path / "ours" / "label", KEYS[0])
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(StoreError, match="is a symbolic link"):
        scan(tmp_path / "link")
    assert theirs.verify(full=True) == []


def test_a_folder_is_marked_once_and_only_then_emptied(tmp_path: Path) -> None:
    commit(tmp_path / "artefacts" / "label", KEYS[0])
    with pytest.raises(ConfigError, match="not marked as a work folder"):
        require_mark(tmp_path)
    for damage in (
        "",
        "[",
        "{}",
        '{"format":1,"id":"x"}',
        '{"format":1,"id":3}',
        '{"format":2,"id":"%s"}' % ("0" * 32),
    ):
        (tmp_path / WORK_MARK).write_text(damage)
        with pytest.raises(ConfigError, match="not marked as a work folder"):
            require_mark(tmp_path)
    mark = ensure_mark(tmp_path)
    assert ensure_mark(tmp_path) == mark
    assert json.loads((tmp_path / WORK_MARK).read_bytes()) == {"format": 1, "id": mark}
    assert re.fullmatch(r"[0-9a-f]{32}", mark)
    require_mark(tmp_path)
