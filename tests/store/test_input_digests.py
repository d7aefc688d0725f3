"""Remembered digests: an unchanged file is not read, any other is, and a wrong memory is never believed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.store import input_digests
from autolabel.store.files import in_threads
from autolabel.store.input_digests import InputDigests


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is at rest: the clock of this process runs a minute ahead of the file system's."""
    now = time.time_ns
    monkeypatch.setattr(input_digests.time, "time_ns", lambda: now() + 60_000_000_000)
    file = tmp_path / "data" / "a.bin"
    file.parent.mkdir()
    file.write_bytes(b"first")
    return file


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    seen: list[str] = []
    real = input_digests._hashed

    def hashed(path: str) -> object:
        seen.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(input_digests, "_hashed", hashed)
    return seen


def ask(file: Path, **options: bool) -> str | None:
    files = InputDigests(file.parent.parent / "memory", **options)
    found = files.of_files(file.parent, [file.name])
    files.remember()
    return found[file.name]


def test_an_unchanged_file_is_read_once(old: Path, reads: list[str]) -> None:
    assert [ask(old) for _ in range(3)] == [sha256(old)] * 3
    assert reads == ["a.bin"]
    ask(old, rehash=True)
    assert len(reads) == 2


def same_size(file: Path) -> None:
    file.write_bytes(b"other")


def same_size_and_mtime(file: Path) -> None:
    """As an editor or `cp -p` leaves it: only ctime tells."""
    found = file.stat()
    file.write_bytes(b"other")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def replaced(file: Path) -> None:
    found = file.stat()
    new = file.with_name("new")
    new.write_bytes(b"other")
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))
    new.replace(file)


def older(file: Path) -> None:
    file.write_bytes(b"other")
    os.utime(file, (1, 1))


@pytest.mark.parametrize("change", [same_size, same_size_and_mtime, replaced, older], ids=lambda f: f.__name__)
def test_every_change_is_seen(old: Path, change: Callable[[Path], None]) -> None:
    first = ask(old)
    change(old)
    assert ask(old) == hashlib.sha256(b"other").hexdigest() != first


def test_touched_files_are_read_again_and_are_the_same(old: Path, reads: list[str]) -> None:
    first = ask(old)
    os.utime(old, (5, 5))
    assert (ask(old), len(reads)) == (first, 2)


def test_a_file_that_has_just_been_written_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    """Two changes within one tick of the clock leave the same times: here every file has the same stamp."""
    file = tmp_path / "data" / "a.bin"
    file.parent.mkdir()
    monkeypatch.setattr(input_digests, "_stamp_of", lambda found: [5, 7, 7, 7])
    file.write_bytes(b"first")
    first = ask(file)
    file.write_bytes(b"other")
    assert ask(file) != first
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    old: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    real = input_digests.sha256_open

    def slow(file: object) -> str:
        digest = real(file)
        old.write_bytes(b"other")
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(input_digests, "sha256_open", slow)
        ask(old)
    assert ask(old) == sha256(old)


def test_a_missing_file_and_one_that_cannot_be_read(old: Path) -> None:
    os.mkfifo(old.with_name("pipe"))
    files = InputDigests()
    assert files.of_files(old.parent, ["pipe", "a.bin"]) == {"pipe": None, "a.bin": sha256(old)}
    with pytest.raises(FileNotFoundError):
        files.of_files(old.parent, ["nothing"])
    with pytest.raises(OSError, match="regular"):
        files.of_file(old.with_name("pipe"))


@given(st.data())
def test_a_damaged_memory_is_not_believed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """With any byte changed the digests are right, and nothing is raised."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "data").mkdir()
    file = folder / "data" / "a.bin"
    file.write_bytes(b"first")
    memory = folder / "memory"
    stamp = input_digests._stamp_of(file.stat())
    body = b'{"format":1,"roots":{"%s":{"a.bin":[%s, "%s"]}}}' % (
        str(file.parent).encode(), str(stamp)[1:-1].encode(), b"0" * 64,
    )  # fmt: skip
    good = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    memory.write_bytes(good)
    assert InputDigests(memory).of_file(file) == "0" * 64  # as written here, it is believed
    at = data.draw(st.integers(0, 10_000)) % len(good)
    memory.write_bytes(good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :])
    assert InputDigests(memory).of_file(file) == sha256(file)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"format":1}', b'{"format":2,"roots":{"x":1}}', b"[" * 100_000, b'{"format":1,"roots":[1]}']
)
def test_a_memory_of_another_shape_is_an_empty_one(old: Path, body: bytes) -> None:
    (old.parent.parent / "memory").write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert ask(old) == sha256(old)


def test_files_that_are_gone_are_forgotten(old: Path) -> None:
    other = old.with_name("b.bin")
    other.write_bytes(b"b")
    memory = old.parent.parent / "memory"
    files = InputDigests(memory)
    files.of_files(old.parent, ["a.bin", "b.bin"])
    files.remember()
    assert b"b.bin" in memory.read_bytes()
    other.unlink()
    old.write_bytes(b"other")
    ask(old)
    assert b"b.bin" not in memory.read_bytes()


@pytest.mark.parametrize("count", [0, 1, 7, 100, 1000])
def test_digests_of_many_files_are_in_the_order_of_their_names(count: int) -> None:
    assert list(in_threads(str, range(count), jobs=3)) == [str(number) for number in range(count)]


def test_threads_begin_nothing_more_once_the_caller_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    stopped = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            stopped.set()
            super().shutdown(wait=wait)

    def take(number: int) -> int:
        if number >= 100:
            stopped.wait(60)
        taken.append(number)
        return number

    monkeypatch.setattr("autolabel.store.files.ThreadPoolExecutor", Pool)
    with closing(in_threads(take, range(2000), jobs=2)) as results:
        assert next(results) == 0
    assert len(taken) < 300


def test_reading_says_how_far_it_is(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(old, quiet=False)
    assert "hashing inputs: 1/1 file (100 %)" in capsys.readouterr().err
    ask(old, rehash=True)
    assert capsys.readouterr().err == ""


def test_a_file_that_is_forgotten_is_read_again(old: Path, reads: list[str]) -> None:
    ask(old)
    files = InputDigests(old.parent.parent / "memory")
    files.of_files(old.parent, ["a.bin"])
    files.forget(old.parent, ["a.bin", "unknown"])
    files.remember()
    assert reads == ["a.bin"]
    assert ask(old) == sha256(old)
    assert reads == ["a.bin"] * 2


def test_without_leave_to_read_only_what_is_remembered_is_known(old: Path, reads: list[str]) -> None:
    memory = old.parent.parent / "memory"
    assert InputDigests(memory, read=False).of_files(old.parent, ["a.bin"]) == {"a.bin": None}
    ask(old)
    assert InputDigests(memory, read=False).of_files(old.parent, ["a.bin"]) == {"a.bin": sha256(old)}
    assert reads == ["a.bin"]
    with pytest.raises(FileNotFoundError):
        InputDigests(memory, read=False).of_files(old.parent, ["nothing"])


def test_the_digests_that_were_used_can_be_asked_for(old: Path) -> None:
    files = InputDigests()
    assert files.used(old.parent) == {}
    files.of_files(old.parent, ["a.bin"])
    assert files.used(old.parent) == {"a.bin": sha256(old)}
    assert files.used(old.parent.parent) == {}
    assert files.of_file(old) == sha256(old)


def test_a_stop_between_two_files_keeps_what_was_read(old: Path, reads: list[str]) -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        if len(reads) >= 1:
            raise Stop

    old.with_name("b.bin").write_bytes(b"b")
    files = InputDigests(old.parent.parent / "memory", jobs=1, check=check)
    with pytest.raises(Stop):
        files.of_files(old.parent, ["a.bin", "b.bin"])
    files.remember()
    assert ask(old) == sha256(old)
    assert reads.count("a.bin") == 1


def test_the_memory_does_not_drift(old: Path) -> None:
    """A literal: another version must find what this one has read."""
    ask(old)
    found = old.stat()
    stamp = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    body = json.dumps(
        {"format": 1, "roots": {str(old.parent): {"a.bin": [*stamp, sha256(old)]}}}, separators=(",", ":")
    )
    digest = hashlib.sha256(body.encode()).hexdigest()
    assert (old.parent.parent / "memory").read_text() == f"{digest}\n{body}"


def test_nothing_is_written_where_nothing_is_new(old: Path) -> None:
    ask(old)
    memory = old.parent.parent / "memory"
    (memory.parent / ".tmp-left").write_bytes(b"cut sho")
    inode = memory.stat().st_ino
    ask(old)
    assert memory.stat().st_ino == inode
    assert (memory.parent / ".tmp-left").exists()
    ask(old, rehash=True)
    assert memory.stat().st_ino != inode
    assert not (memory.parent / ".tmp-left").exists(), "of a run that was killed as it wrote"
    InputDigests().remember()


def test_a_file_of_which_nothing_can_be_read_has_no_digest(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network share that is gone, say: its files exist, and not even their times can be read."""

    def refuse(path: str) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(input_digests.os, "stat", refuse)
        assert input_digests._stamp(str(old)) is None
    with pytest.raises(NotADirectoryError):
        input_digests._stamp(str(old / "inside"))
