"""Each refusal of locks, output folders and work folders, whole: where, what, and a remedy."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolabel.errors import ConfigError, StoreError, WorkFolderLocked
from autolabel.store import check_output, durable, hold_lock, open_draft, require_mark
from autolabel.store.output_folder import only_writer, open_output
from tests.helpers.said import said

KEY = "0123456789abcdef" * 4


def lock_and_do(path: Path, act: Callable[[], object] = lambda: None, **options: bool) -> None:
    with hold_lock(path, **options):
        act()


def test_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    with hold_lock(path) as lock:
        us = f" (pid {os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)})"
        held = f"{path}: another run holds this folder{us}; wait for it, or stop it"
        assert said(lambda: lock_and_do(path), WorkFolderLocked) == held
        path.unlink()
        gone = "was deleted or replaced while this run held it, so another run may be at work here"
        assert said(lock.check, WorkFolderLocked) == f"{path}: {gone}; run again when no other run is at work"
    monkeypatch.setattr("autolabel.store.lock._is_at", lambda fd, path: False)
    again = f"{path}: is deleted again and again; find out which program does that"
    assert said(lambda: lock_and_do(path), WorkFolderLocked) == again


@pytest.mark.parametrize("fails_inside", [False, True])
def test_a_lock_file_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_inside: bool) -> None:
    """The error of the work itself counts more than that of the lock."""

    def refuse(path: Path) -> None:
        raise StoreError(path, "Read-only file system")

    def fail() -> None:
        raise ZeroDivisionError

    path = tmp_path / ".lock"
    monkeypatch.setattr(durable, "remove_file", refuse)
    if fails_inside:
        with pytest.raises(ZeroDivisionError):
            lock_and_do(path, fail, remove=True)
    else:
        stays = f"{path}: cannot be removed: Read-only file system; all else is done; delete this file"
        assert said(lambda: lock_and_do(path, remove=True)) == stays


def test_output_folders(tmp_path: Path) -> None:
    def fill(out: Path, **options: Any) -> None:
        with open_output(out, **{"work": {"n": 1}, "index": "index.json", **options}) as output:
            output.write([("x", b"1")])

    def check(out: Path, *names: str) -> None:
        check_output(out, work={"n": 1}, index="index.json", names=names)

    (tmp_path / "file").write_bytes(b"")
    another = f"{tmp_path / 'file'}: is not a folder; give another --out"
    assert said(lambda: fill(tmp_path / "file"), ConfigError) == another
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "x").write_bytes(b"2")
    new = f"{theirs}: exists and is not an empty folder; give a new folder with --out"
    assert said(lambda: fill(theirs, new=True), ConfigError) == new
    remedy = "move it away, give another --out, or replace it with --overwrite"
    not_ours = f"{theirs / 'x'}: is there already, and not as this command wrote it; {remedy}"
    assert said(lambda: check(theirs, "y", "x"), ConfigError) == not_ours
    check(theirs, "y")
    fill(tmp_path / "ours")
    unfinished = (
        f"{tmp_path / 'ours'}: holds unfinished work with other settings or inputs; repeat that command to its "
    )
    other = said(lambda: fill(tmp_path / "ours", work={"n": 2}), ConfigError)
    assert other == unfinished + "end, or give another --out"
    made = open_draft(tmp_path / "step", KEY).commit(meta={}, provenance={})
    for place, name in ((made.path, KEY[:16]), (made.data / "new", KEY[:16])):
        text = f"{place}: lies in the artefact {name}, which never changes; give another --out"
        assert said(lambda place=place: fill(place), ConfigError) == text
        assert said(lambda place=place: only_writer(place).__enter__(), ConfigError) == text


def test_work_folders(tmp_path: Path) -> None:
    require_mark(tmp_path)
    (tmp_path / "artefacts").mkdir()
    assert said(lambda: require_mark(tmp_path), ConfigError) == (
        f"{tmp_path}: is not marked as a work folder of autolabel, and nothing is deleted in another folder; check "
        "--work; `autolabel run` with this --work marks it"
    )
