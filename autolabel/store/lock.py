"""A lock that admits one run at a time to a work folder. It is the kernel's (flock) and ends with its process."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autolabel.errors import WorkFolderLocked
from autolabel.store import durable
from autolabel.store.files import canonical_json

_READS, _PAUSE_SECONDS = 50, 0.01  # the holder writes who it is after it has locked


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the block. WorkFolderLocked, at once and naming the holder, if another run has it.

    The file stays when the lock is free: its existence means nothing, and removing it would let two runs lock two
    files of one name. A forked child (a loader worker) gives its copy of the descriptor back at once and does not
    hold the lock: it could outlive a killed parent and shut out the next run. Programs started by exec never get it.
    """
    fd = durable.open_lock_file(path)
    descriptors = [fd]

    def close() -> None:
        if descriptors:
            os.close(descriptors.pop())

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(fd)
        close()
        raise WorkFolderLocked(path, f"another run holds this folder{holder}", "wait for it, or stop it") from None
    os.register_at_fork(after_in_child=close)
    try:
        durable.write_lock_file(fd, path, _about_us())
        yield
    finally:
        if descriptors:  # not in a forked child that leaves the block: unlocking acts on all copies
            fcntl.flock(fd, fcntl.LOCK_UN)
        close()


def _about_us() -> bytes:
    return canonical_json({"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv)})


def _holder(fd: int) -> str:
    """Who holds the lock, as it wrote itself. Until it has, the file names the previous run, which is left out."""
    for _ in range(_READS):
        with suppress(ValueError, KeyError, TypeError, OverflowError):
            about = json.loads(os.pread(fd, 65536, 0))
            if about["host"] != socket.gethostname() or _lives(about["pid"]):
                return f" (pid {about['pid']} on {about['host']}: {about['command']})"
        time.sleep(_PAUSE_SECONDS)
    return ""


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
