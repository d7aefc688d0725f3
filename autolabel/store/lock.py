"""A lock that admits one run at a time to a work folder. It is the kernel's and ends with its process."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autolabel.errors import StoreError, WorkFolderLocked
from autolabel.platforms import PLATFORM
from autolabel.store import durable
from autolabel.store.files import canonical_json

_TRIES = 100  # locks of files that were removed meanwhile
_READS, _PAUSE_SECONDS = 50, 0.01  # the holder writes who it is after it has locked


class HeldLock:
    """A lock that this process holds, for as long as its path names the file that was locked."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd, self._path = fd, path

    def check(self) -> None:
        """WorkFolderLocked if the lock file was deleted or replaced: another run may have locked the new one."""
        if not _is_at(self._fd, self._path):
            what = "was deleted or replaced while this run held it, so another run may be at work here"
            raise WorkFolderLocked(self._path, what, "run again when no other run is at work")


@contextmanager
def hold_lock(path: Path, *, remove: bool = False) -> Iterator[HeldLock]:
    """Hold the lock file `path` for the block. WorkFolderLocked, at once and naming the holder, if another run has it.

    The file stays when the lock is free, unless `remove`: its existence means nothing. StoreError if it cannot be
    removed. Whoever locks a file that is no longer at its path tries again, so that two runs never hold two files of
    one name. A forked child (a loader worker)
    gives its copy of the descriptor back at once and does not hold the lock: it could outlive a killed parent and shut
    out the next run. Programs started by exec never get it.
    """
    fd = _locked(path)
    descriptors = [fd]

    def close() -> None:
        if descriptors:
            os.close(descriptors.pop())

    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=close)
    try:
        durable.write_lock_file(fd, path, _about_us())
        yield HeldLock(fd, path)
    except BaseException:
        if descriptors and remove:
            with suppress(StoreError):  # the first error counts
                _remove(fd, path)
        raise
    else:
        if descriptors and remove:
            _remove(fd, path)
    finally:
        if descriptors:  # not in a forked child that leaves the block: unlocking acts on all copies
            PLATFORM.unlock(fd)
        close()


def _remove(fd: int, path: Path) -> None:
    """Remove the lock file, unless it is another one by now. StoreError if it stays."""
    if not _is_at(fd, path):
        return
    try:
        durable.remove_file(path)
    except StoreError as error:
        raise StoreError(path, f"cannot be removed: {error.what}", "all else is done; delete this file") from error


def _locked(path: Path) -> int:
    """A descriptor of the file at `path`, locked."""
    for _ in range(_TRIES):
        fd = durable.open_lock_file(path)
        try:
            PLATFORM.lock(fd)
        except BlockingIOError:
            holder = _holder(fd)
            os.close(fd)
            raise WorkFolderLocked(path, f"another run holds this folder{holder}", "wait for it, or stop it") from None
        if _is_at(fd, path):
            return fd
        os.close(fd)
    raise WorkFolderLocked(path, "is deleted again and again", "find out which program does that")


def _is_at(fd: int, path: Path) -> bool:
    """Whether `path` names the open file."""
    try:
        there = path.stat(follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _about_us() -> bytes:
    return canonical_json({"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv)})


def _holder(fd: int) -> str:
    """Who holds the lock, as it wrote itself. Until it has, the file names the previous run, which is left out."""
    for _ in range(_READS):
        with suppress(ValueError, KeyError, TypeError, OverflowError):
            os.lseek(fd, 0, os.SEEK_SET)
            about = json.loads(os.read(fd, 65536))
            if about["host"] != socket.gethostname() or PLATFORM.lives(about["pid"]):
                return f" (pid {about['pid']} on {about['host']}: {about['command']})"
        time.sleep(_PAUSE_SECONDS)
    return ""
