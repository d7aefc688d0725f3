"""Folders that commands fill for a user: one writer, one piece of work, and never over a file of someone else."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from autolabel.errors import ConfigError, StoreError, WorkFolderLocked
from autolabel.store import (
    UNFINISHED,
    check_output,
    ensure_mark,
    only_writer,
    open_draft,
    open_output,
    sha256_bytes,
    write_folder,
)
from autolabel.store.files import walk_files
from autolabel.store.hooks import Effect, observe
from autolabel.store.journal import Journal
from autolabel.store.output_folder import _rows

KEY = "0123456789abcdef" * 4
WORK, OTHER = {"threshold": 0.3}, {"threshold": 0.4}
INDEX = "index.json"


class Killed(BaseException):
    pass


def make(out: Path, files: dict[str, bytes], *, work: dict = WORK, **options: bool) -> None:
    with open_output(out, work=work, index=INDEX, **options) as output:
        for item in files.items():
            output.write([item])
        output.finish({"work": work, "files": output.rows()})


def contents(out: Path) -> dict[str, bytes]:
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def kill_at(number: int, act: Callable[[], None]) -> bool:
    """Run `act` to the effect of this number; tell whether it got so far."""
    count = iter(range(number))

    def observer(phase: str, effect: Effect) -> None:
        if phase == "before" and next(count, None) is None:
            raise Killed

    with observe(observer):
        try:
            act()
        except Killed:
            return True
    return False


def test_the_index_names_each_file_with_its_digest(tmp_path: Path) -> None:
    make(tmp_path / "out", {"a/x.png": b"1", "y.png": b"2"})
    found = contents(tmp_path / "out")
    assert found.keys() == {"a/x.png", "y.png", INDEX}, "neither lock nor journal remains"
    rows = {row["file"]: row["sha256"] for row in json.loads(found[INDEX])["files"]}
    assert rows == {"a/x.png": sha256_bytes(b"1"), "y.png": sha256_bytes(b"2")}


def test_killed_anywhere_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    files = {"x.png": b"1", "y.png": b"2"}
    make(tmp_path / "whole", files, new=True)
    for number in range(1000):
        out = tmp_path / f"out{number}"
        if not kill_at(number, partial(make, out, files, new=True)):
            break
        make(out, files, new=True)
        assert contents(out) == contents(tmp_path / "whole"), number
    assert number > 20


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_where_one_effect_fails_the_same_command_heals(tmp_path: Path, code: int) -> None:
    """Every effect in turn; the last of them is the removal of the lock, which would stay in the user's folder."""
    files = {"x.png": b"1", "y.png": b"2"}
    make(tmp_path / "whole", files, new=True)
    for number in range(1000):
        out, count = tmp_path / f"out{number}", iter(range(number))
        failed: list[Effect] = []

        def observer(phase: str, effect: Effect, count: Iterator[int] = count, failed: list[Effect] = failed) -> None:
            if phase == "before" and not failed and next(count, None) is None:
                failed.append(effect)
                raise OSError(code, os.strerror(code))

        with observe(observer):
            try:
                make(out, files, new=True)
            except StoreError:
                pass
            else:
                assert not failed, f"nobody says that {failed} failed"
        if not failed:
            break
        make(out, files, new=True)
        assert contents(out) == contents(tmp_path / "whole"), failed
    assert number > 20


def test_a_new_folder_that_is_not_durable_is_taken_back(tmp_path: Path) -> None:
    def observer(phase: str, effect: Effect) -> None:
        if phase == "before" and effect.kind == "fsync_folder" and (tmp_path / "out").exists():
            raise OSError(errno.EIO, "bad disk")

    with pytest.raises(StoreError, match="bad disk"), observe(observer):
        write_folder(tmp_path / "out", [("x", b"1")])
    write_folder(tmp_path / "out", [("x", b"1")])
    assert contents(tmp_path) == {"out/x": b"1"}


def test_finished_work_is_repeated_only_if_it_is_the_same(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out, {"x.png": b"1"}, new=True)
    before = contents(out)
    make(out, {"x.png": b"1"}, new=True)
    with pytest.raises(ConfigError, match="not an empty folder"):
        make(out, {"x.png": b"1"}, new=True, work=OTHER)
    assert contents(out) == before
    (out / "x.png").write_bytes(b"corrected by hand")
    with pytest.raises(ConfigError, match="not an empty folder"):
        make(out, {"x.png": b"1"}, new=True)


def test_unfinished_work_is_not_continued_by_other_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert kill_at(14, lambda: make(out, {"x.png": b"1", "y.png": b"2"}))
    assert (out / UNFINISHED).exists()
    before = contents(out)
    for new in (True, False):
        with pytest.raises(ConfigError, match="unfinished work with other settings or inputs"):
            make(out, {"x.png": b"3"}, work=OTHER, new=new)
    assert contents(out) == before
    make(out, {"x.png": b"3", "y.png": b"4"}, work=OTHER, overwrite=True)
    assert contents(out)["x.png"] == b"3"


def test_a_file_of_someone_else_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out, {"x.png": b"1", "y.png": b"2"})
    make(out, {"x.png": b"3"}, work=OTHER)
    assert contents(out)["x.png"] == b"3", "our own file, as we wrote it"
    (out / "x.png").write_bytes(b"corrected by hand")
    (out / "z.png").write_bytes(b"theirs")
    (out / "link.png").symlink_to("nothing")
    for name in ("x.png", "z.png", "link.png"):
        with pytest.raises(ConfigError, match=r"not as this command wrote it.*--overwrite"):
            check_output(out, work=WORK, index=INDEX, names=[name])
        with (
            pytest.raises(ConfigError, match="not as this command wrote it"),
            open_output(out, work=WORK, index=INDEX) as output,
        ):
            output.write([(name, b"new")])
    assert contents(out)["x.png"] == b"corrected by hand"
    make(out, {"x.png": b"5", "z.png": b"6"}, overwrite=True)
    assert (contents(out)["x.png"], contents(out)["z.png"]) == (b"5", b"6")
    rows = {row["file"] for row in json.loads(contents(out)[INDEX])["files"]}
    assert rows == {"x.png", "y.png", "z.png"}, "files of earlier commands stay in the index"


def test_labels_that_the_index_names_apart_are_ours_too(tmp_path: Path) -> None:
    """A label set has a list of its labels, beside the one of its other files."""
    with open_output(tmp_path, work=WORK, index=INDEX) as output:
        output.write([("x.png", b"1"), ("legend.png", b"2")])
        labels, others = ([row for row in output.rows() if (row["file"] == "x.png") == is_label] for is_label in (1, 0))
        output.finish({"labels": labels, "files": others})
    make(tmp_path, {"x.png": b"3", "legend.png": b"4"}, work=OTHER)
    assert contents(tmp_path)["x.png"] == b"3"


def test_a_correction_in_unfinished_work_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    number = 0
    while not (out / "x.png").exists():
        number += 1
        assert kill_at(number, lambda: make(out, {"x.png": b"1", "y.png": b"2"}, new=True))
    (out / "x.png").write_bytes(b"corrected by hand")
    with pytest.raises(ConfigError, match="not an empty folder"):
        make(out, {"x.png": b"1"}, new=True)
    with pytest.raises(ConfigError, match="not as this command wrote it"):
        make(out, {"x.png": b"1"})


def test_only_a_name_with_a_digest_makes_a_file_ours(tmp_path: Path) -> None:
    rows = [{"file": "a"}, {"sha256": "0"}, {"file": 1, "sha256": "0"}, {"file": "b", "sha256": 0}]
    Journal(tmp_path / UNFINISHED).append([*rows, {"file": "c", "sha256": "0"}])
    assert _rows(tmp_path, INDEX) == {"c": {"0"}}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": [3, {"file": 1}]}', "[" * 100_000, "\0"])
def test_a_file_in_place_of_the_index_is_not_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    (tmp_path / "x.png").write_bytes(b"theirs")
    for names in ([], ["x.png"]):
        with pytest.raises(ConfigError, match="not as this command wrote it"):
            check_output(tmp_path, work=WORK, index=INDEX, names=names)
    assert (tmp_path / INDEX).read_text() == text


def test_one_command_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_output(out, work=WORK, index=INDEX, new=True):
        for options in ({}, {"new": True}):
            with pytest.raises(WorkFolderLocked, match="another run holds this folder"):
                make(out, {}, **options)
    with only_writer(tmp_path / "file"), pytest.raises(WorkFolderLocked), only_writer(tmp_path / "file"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        with open_output(tmp_path, work=WORK, index=INDEX):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    make(tmp_path, {"x.png": b"1"})
    assert contents(tmp_path).keys() == {"x.png", INDEX}


def test_nothing_is_written_among_the_artefacts_of_a_work_folder(tmp_path: Path) -> None:
    (tmp_path / "artefacts" / "label").mkdir(parents=True)
    make(tmp_path / "artefacts" / "theirs", {"a": b"x"})  # no work folder of ours: any folder may have this name
    ensure_mark(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "artefacts")
    for out in (tmp_path / "artefacts" / "label" / "mine", tmp_path / "link" / "mine"):
        with pytest.raises(ConfigError, match="lies among the artefacts"):
            make(out, {"a": b"x"})
        assert not out.exists()
    make(tmp_path / "mine", {"a": b"x"})


def test_nothing_is_written_into_an_artefact_or_a_draft(tmp_path: Path) -> None:
    draft = open_draft(tmp_path / "work" / "artefacts" / "label", KEY)
    draft.write("x.png", b"1")
    places = [draft.path, draft.data, draft.data / "new"]
    artefact = draft.commit(meta={}, provenance={})
    (tmp_path / "link").symlink_to(artefact.data)
    places += [artefact.path, artefact.data, artefact.data / "deep" / "er", tmp_path / "link", tmp_path / "link/new"]
    for place in places:
        with pytest.raises(ConfigError, match=r"which never changes; give another --out$"):
            make(place, {"y.png": b"2"}, overwrite=True)
        with pytest.raises(ConfigError, match="which never changes"), only_writer(place / "file"):
            pass
    assert artefact.verify(full=True) == []


def test_files_that_vanish_while_a_folder_is_listed(tmp_path: Path) -> None:
    """Another command may replace its temporary files at any moment."""
    for name in "abcd":
        (tmp_path / name).write_text(name)
    listing = walk_files(tmp_path)
    first, size = next(listing)
    for name in set("abcd") - {first}:
        (tmp_path / name).unlink()
    assert size == 1
    assert list(listing) == []
