from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autolabel.errors import WorkFolderLocked
from autolabel.store import hold_lock
from autolabel.store.files import canonical_json
from tests.helpers.hang import HANG_SECONDS

# since 3.12 a fork warns if the process has threads
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def fork(work: Callable[[int, int], None]) -> tuple[int, int, int]:
    """Run work(read end, write end) in a child; returns its pid and the ends to read from it and write to it."""
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(from_child)
        os.close(to_child)
        signal.alarm(HANG_SECONDS)
        try:
            work(from_parent, to_parent)
        finally:
            os._exit(0)
    os.close(to_parent)
    os.close(from_parent)
    return pid, from_child, to_child


def test_the_second_run_reports_who_holds_it(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "work" / ".lock"):
        holder = rf"pid {os.getpid()} on .*: {re.escape(' '.join(sys.argv))}"
        with pytest.raises(WorkFolderLocked, match=holder) as refused, hold_lock(tmp_path / "work/.lock"):
            pass
        assert refused.value.exit_code == 75
    with hold_lock(tmp_path / "work" / ".lock"):
        pass  # the file remains, the lock does not


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold_lock(tmp_path / ".lock"):
        raise ZeroDivisionError
    with hold_lock(tmp_path / ".lock"):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    def work(_: int, write: int) -> None:
        with hold_lock(tmp_path / ".lock"):
            os.write(write, b"h")
            signal.pause()

    pid, read, _ = fork(work)
    assert os.read(read, 1) == b"h"
    with pytest.raises(WorkFolderLocked, match=f"pid {pid}"), hold_lock(tmp_path / ".lock"):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with hold_lock(tmp_path / ".lock"):
        pass


def test_a_run_that_has_ended_is_not_named_as_the_holder(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    pid, _, _ = fork(lambda read, write: None)
    os.waitpid(pid, 0)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    os.write(descriptor, canonical_json({"pid": pid, "host": socket.gethostname(), "command": "autolabel run"}))
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # like a holder that has not yet written who it is
    with pytest.raises(WorkFolderLocked, match="another run holds this folder; wait"), hold_lock(lock):
        pass
    os.close(descriptor)


def test_a_forked_child_does_not_keep_it(tmp_path: Path) -> None:
    """A loader worker that outlives its killed parent must not shut out the next run."""
    with hold_lock(tmp_path / ".lock"):
        pid, _, write = fork(lambda read, _: os.read(read, 1))
    with hold_lock(tmp_path / ".lock"):  # while the child still lives
        os.write(write, b"x")
        os.waitpid(pid, 0)


def test_a_child_that_leaves_the_block_does_not_free_it(tmp_path: Path) -> None:
    def leave() -> None:
        with hold_lock(tmp_path / ".lock"):
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                with pytest.raises(WorkFolderLocked), hold_lock(tmp_path / ".lock"):
                    pass
        if not pid:
            os._exit(0)

    leave()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(10))
def test_one_of_four_wins(tmp_path: Path, attempt: int) -> None:
    def work(read: int, write: int) -> None:
        os.read(read, 1)  # all start together
        try:
            with hold_lock(tmp_path / ".lock"):
                os.write(write, b"won")
                os.read(read, 1)
        except WorkFolderLocked:
            os.write(write, b"no!")

    children = [fork(work) for _ in range(4)]
    for _, _, write in children:
        os.write(write, b"x")
    answers = [os.read(read, 3) for _, read, _ in children]
    for pid, _, write in children:
        os.close(write)
        os.waitpid(pid, 0)
    assert sorted(answers) == [b"no!", b"no!", b"no!", b"won"]


def test_a_file_that_was_deleted_is_no_lock(tmp_path: Path) -> None:
    """The first run notices before it commits; the second one has the lock."""
    path = tmp_path / ".lock"
    with hold_lock(path) as first:
        first.check()
        path.unlink()
        with pytest.raises(WorkFolderLocked, match="deleted or replaced"):
            first.check()
        with hold_lock(path) as second:
            second.check()
            with pytest.raises(WorkFolderLocked, match="deleted or replaced"):
                first.check()


def test_no_two_hold_a_file_that_is_deleted_while_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between open and flock the file is removed, as the last holder does with `remove`."""
    path, real = tmp_path / ".lock", fcntl.flock
    removals = iter([True, False, False])

    def flock(fd: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and next(removals):
            path.unlink()
        real(fd, operation)

    monkeypatch.setattr("fcntl.flock", flock)
    with hold_lock(path, remove=True) as held:
        held.check()
        assert path.exists()
        with pytest.raises(WorkFolderLocked, match="another run"), hold_lock(path):
            pass
    assert not path.exists()
