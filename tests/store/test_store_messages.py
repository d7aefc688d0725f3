"""Each refusal of the store, whole: where, what, and a remedy; and each problem that a verification names."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autolabel.errors import CorruptArtefact
from autolabel.store import (
    Artefact,
    delete,
    durable,
    find,
    find_problems,
    open_draft,
    scan,
    sha256_bytes,
)
from autolabel.store.artefact import Unreadable
from autolabel.store.files import read_regular
from autolabel.store.hooks import Effect, observe
from autolabel.store.os_errors import os_errors
from autolabel.store.record import Entry, decode_commit, decode_manifest, encode_manifest
from tests.helpers.said import said
from tests.helpers.unreadable import unreadable

KEY, OTHER = "0123456789abcdef" * 4, "f" * 64
DIFFER = "its bytes differ from what was committed"
LINK = "is a symbolic link; symbolic links are refused here; put what it points to in its place"


def make(folder: Path, **files: bytes) -> Artefact:
    draft = open_draft(folder, KEY)
    for name, data in files.items():
        draft.write(name, data)
    return draft.commit(meta={}, provenance={})


def test_a_file_of_an_artefact(tmp_path: Path) -> None:
    made = make(tmp_path, x=b"x")
    missing = f"{made.path}: has no file 'y'; it may come from another version; make it again"
    assert said(lambda: made.file("y")) == missing
    (made.data / "x").write_bytes(b"y")
    assert said(lambda: made.read("x"), CorruptArtefact) == f"{made.data / 'x'}: {DIFFER}"
    (made.data / "x").unlink()
    assert said(lambda: made.read("x"), CorruptArtefact) == f"{made.data / 'x'}: No such file or directory"
    (made.data / "x").symlink_to("y")
    assert said(lambda: made.read("x"), CorruptArtefact) == f"{made.data / 'x'}: is a symbolic link"
    (made.data / "x").unlink()
    os.mkfifo(made.data / "x")
    assert said(lambda: made.read("x"), CorruptArtefact) == f"{made.data / 'x'}: is not a regular file"


def test_an_artefact_of_another_key(tmp_path: Path) -> None:
    made = make(tmp_path)
    moved = made.path.rename(tmp_path / OTHER[:16])
    renamed = f"{moved}: belongs to the key {KEY[:16]}; it was renamed by hand"
    assert said(lambda: find(tmp_path, OTHER), CorruptArtefact) == renamed
    (tmp_path / "again").mkdir()
    other = open_draft(tmp_path / "again", KEY).commit(meta={"n": 1}, provenance={})
    assert other.verify() == []
    (other.path / "COMMIT").write_bytes((moved / "COMMIT").read_bytes())
    (other.path / "manifest.json").write_bytes((moved / "manifest.json").read_bytes())
    assert other.verify() == ["COMMIT: now belongs to another artefact"]


@pytest.mark.parametrize("name", ["", "data"])
def test_links_in_place_of_an_artefact(tmp_path: Path, name: str) -> None:
    made = make(tmp_path / "step")
    place = made.path / name
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    linked = f"{made.path}: has a symbolic link in place of a folder"
    assert said(lambda: find(tmp_path / "step", KEY), CorruptArtefact) == linked
    assert find_problems(made.path) == [linked]
    assert find_problems(tmp_path / "nothing" / KEY[:16]) == [
        f"{tmp_path}/nothing/{KEY[:16]}/COMMIT: No such file or directory"
    ]


@pytest.mark.parametrize("full", [False, True])
def test_a_file_that_cannot_be_read_now_is_no_damage(tmp_path: Path, full: bool) -> None:
    made = make(tmp_path, x=b"x", y=b"y")
    (made.data / "y").write_bytes(b"z")
    closed = [made.data / "x", made.path / "provenance.json"]
    lines = ["data/x: cannot be read: Permission denied", f"data/y: {DIFFER}"]
    lines += ["provenance.json: cannot be read: Permission denied"]
    with unreadable(*closed):
        found = made.problems(full)
        assert found == find_problems(made.path, full=full) == (lines if full else [])
        assert [isinstance(problem, Unreadable) for problem in found] == ([True, False, True] if full else [])
        if full:
            assert said(lambda: made.verify(full=True)) == lines[0]
        else:
            assert said(lambda: Artefact.open(made.path).provenance) == lines[2]
    for name in ("COMMIT", "manifest.json"):
        with unreadable(made.path / name):
            (problem,) = made.problems()
            assert problem == f"{made.path / name}: Permission denied; the file could not be read; run again"
            assert isinstance(problem, Unreadable)
            there = find_problems(made.path)
            assert f"{name}: cannot be read: Permission denied" in there
            assert [isinstance(one, Unreadable) for one in there] == [True]


def test_a_folder_that_cannot_be_listed_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path, x=b"x")

    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("autolabel.store.artefact.walk_files", refuse)
    (problem,) = made.problems()
    assert (problem, type(problem)) == ("data: cannot be listed: Permission denied", Unreadable)


def test_a_reason_that_is_damage(tmp_path: Path) -> None:
    made = make(tmp_path, x=b"x", y=b"y")
    with unreadable(made.data / "x", reason=errno.EIO):
        assert made.verify(full=True) == ["data/x: Input/output error"]
        assert made.problems(True, names=["y"]) == find_problems(made.path, full=True, names=["y"]) == []
        assert find_problems(made.path, full=True, names=["x"]) == ["data/x: Input/output error"]


def test_damaged_records_are_named_with_all_damaged_files(tmp_path: Path) -> None:
    made = make(tmp_path, x=b"x", y=b"y")
    (made.data / "y").write_bytes(b"z")
    (made.path / "provenance.json").write_bytes(b"[]")
    commit, manifest = (made.path / "COMMIT").read_bytes(), (made.path / "manifest.json").read_bytes()
    (made.path / "COMMIT").write_bytes(commit.replace(b"sha256", b"sha255"))
    other_format = "format 1, sha255; this version reads 1, sha256"
    record = f"COMMIT: is not a commit record of this format ({other_format})"
    assert find_problems(made.path, full=True) == [record, f"data/y: {DIFFER}"], "nothing says what provenance was"
    assert find_problems(made.path) == [record]
    (made.path / "COMMIT").write_bytes(commit)
    (made.path / "manifest.json").write_bytes(b"{}" + manifest)
    assert find_problems(made.path, full=True) == [f"provenance.json: {DIFFER}", f"manifest.json: {DIFFER}"]
    assert find_problems(made.path) == [f"manifest.json: {DIFFER}"]
    (made.path / "COMMIT").unlink()
    gone, extra = "COMMIT: No such file or directory", "manifest.json: is not a manifest of this format (Extra data"
    first, second = find_problems(made.path, full=True)
    assert (first, second.partition(":")[0], second.startswith(extra)) == (gone, "manifest.json", True)
    (made.path / "manifest.json").unlink()
    assert find_problems(made.path) == [gone, "manifest.json: No such file or directory"]


def test_records_of_another_shape(tmp_path: Path) -> None:
    for data, reason in ((b"{}", "'format'"), (b"[]", "list indices must be integers or slices, not str")):
        text = f"C: is not a commit record of this format ({reason})"
        assert said(lambda data=data: decode_commit(data, where="C"), CorruptArtefact) == text
    made = make(tmp_path)
    data = (made.path / "COMMIT").read_bytes()
    assert said(lambda: decode_commit(data + b"\n", where="C"), CorruptArtefact) == f"C: {DIFFER}"
    bad = encode_manifest([Entry("../x", 0, sha256_bytes(b""))], {})
    name = "'../x': is not a safe file name; make it with mirror_names() or safe_name()"
    text = f"M: is not a manifest of this format ({name})"
    assert said(lambda: decode_manifest(bad, where="M"), CorruptArtefact) == text


def test_drafts(tmp_path: Path) -> None:
    make(tmp_path / "a")
    taken = f"{tmp_path}/a/{KEY[:16]}: exists already, where this step would put its result; verify it, or set it aside"
    assert said(lambda: open_draft(tmp_path / "a", KEY)) == taken
    draft = open_draft(tmp_path / "b", KEY)
    draft.write("x", b"x")
    missing = f"{draft.data}: 2 expected files were not written, the first 'a'"
    assert said(lambda: draft.commit(meta={}, provenance={}, names=["b", "x", "a"])) == missing
    changed = (
        f"{draft.data}: 2 files changed or vanished since they were written, the first 'x'; they are kept in "
        f"{KEY[:16]}.corrupt-1; run again to make new ones"
    )
    digests = {"x": sha256_bytes(b"y"), "gone": sha256_bytes(b"")}
    assert said(lambda: draft.commit(meta={}, provenance={}, digests=digests), CorruptArtefact) == changed


@pytest.mark.parametrize("place", ["", "a", "a/x.partial", "a/x.partial/data"])
def test_links_in_place_of_a_draft(tmp_path: Path, place: str) -> None:
    place = place.replace("x", KEY[:16])
    link = tmp_path / "work" / place if place else tmp_path / "work"
    link.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").mkdir()
    link.symlink_to(tmp_path / "elsewhere")
    assert said(lambda: open_draft(tmp_path / "work" / "a", KEY)) == f"{link}: {LINK}"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_links_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for act in (
        lambda: find(tmp_path / "link", KEY),
        lambda: scan(tmp_path / "link"),
        lambda: durable.remove_tree(tmp_path / "link"),
        lambda: durable.write_files(tmp_path, [("link/x", b"")]),
    ):
        assert said(act) == f"{tmp_path / 'link'}: {LINK}"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space and run again"),
        (errno.EDQUOT, "free some of your quota and run again"),
        (errno.EROFS, "choose a folder on a writable disk"),
        (errno.EACCES, "check the permissions of the folder"),
        (errno.EPERM, "check the permissions of the folder"),
        (errno.EIO, "check the disk, then run again"),
        (errno.ELOOP, "symbolic links are refused here; put what it points to in its place"),
        (errno.EBUSY, "nothing was left half-written; run again"),
    ],
)
def test_errors_of_the_system(number: int, remedy: str) -> None:
    def fail(error: OSError) -> None:
        with os_errors(Path("x")):
            raise error

    assert said(lambda: fail(OSError(number, os.strerror(number)))) == f"x: {os.strerror(number)}; {remedy}"


def test_errors_without_a_number() -> None:
    def fail() -> None:
        with os_errors(Path("x")):
            raise OSError("odd")

    assert said(fail) == "x: odd; nothing was left half-written; run again"


def test_files_that_others_use(tmp_path: Path) -> None:
    durable.ensure_file(tmp_path / "x")
    durable.append_file(tmp_path / "x", b"ab", at=0)
    longer = f"{tmp_path / 'x'}: is 2 bytes long instead of 0; let one run at a time write here"
    assert said(lambda: durable.append_file(tmp_path / "x", b"c", at=0)) == longer
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run_again = "nothing was left half-written; run again"
    taken = f"{tmp_path / 'b'}: already exists; {run_again}"
    assert said(lambda: durable.publish(tmp_path / "a", tmp_path / "b")) == taken
    in_the_way = f"{tmp_path / 'x' / 'y'}: exists and is not a folder; {run_again}"
    assert said(lambda: durable.make_folder(tmp_path / "x" / "y")) == in_the_way
    assert said(lambda: delete(tmp_path / "a")) == (
        f"{tmp_path / 'a'}: is not an artefact; name a folder that the store made"
    )
    with unreadable(tmp_path / "x"):
        text = f"{tmp_path / 'x'}: Permission denied; the file could not be read; run again"
        assert said(lambda: read_regular(tmp_path / "x")) == text


def test_every_change_that_fails_names_its_file(tmp_path: Path) -> None:
    """Each in the one place that it changes; a new file changes its folder."""

    def fail(phase: str, effect: Effect) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, folder = tmp_path / "x", tmp_path / "folder"
    path.write_bytes(b"")
    folder.mkdir()
    with path.open("r+b") as file:
        acts: list[tuple[Callable[[], object], Path]] = [
            (lambda: durable.write_file(path, b"1"), tmp_path),
            (lambda: durable.append_file(path, b"1", at=0), path),
            (lambda: durable.append_log(path, b"1"), path),
            (lambda: durable.truncate_file(path, 0), path),
            (lambda: durable.sync_file(path), path),
            (lambda: durable.remove_file(path), path),
            (lambda: durable.open_lock_file(path), tmp_path),
            (lambda: durable.write_lock_file(file.fileno(), path, b"1"), path),
            (lambda: durable.ensure_file(path), tmp_path),
            (lambda: durable.remove_tree(folder), folder),
            (lambda: durable.sync_folder(folder), folder),
            (lambda: durable.sync_folders(folder), folder),
            (lambda: durable.make_folder(folder), folder),
            (lambda: durable.publish(folder, tmp_path / "new"), tmp_path / "new"),
        ]
        for act, place in acts:
            with observe(fail):
                text = said(act)
            assert text == f"{place}: No space left on device; free some space and run again"
