"""All that differs between Linux, macOS and Windows: locks, flags of open, durable folders, parents, signals.

`PLATFORM` is the one of this machine. Both classes can be tested on any machine: they import what only one system has
inside their methods.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Protocol

# Flags of os.open. Windows has neither links that a plain user makes nor inheritance that a flag would end, but opens
# in text mode unless told otherwise.
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
NOT_INHERITED = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
BINARY = getattr(os, "O_BINARY", 0)
NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # for a pipe in the place of a file
SAFE_OPEN = NO_LINKS | NOT_INHERITED | BINARY

_PR_SET_PDEATHSIG = 1
_STILL_ACTIVE, _QUERY = 259, 0x1000  # exit code of a running process; PROCESS_QUERY_LIMITED_INFORMATION
# Windows locks bytes, and no other process can read a locked one: this byte lies behind any text of a lock file.
_LOCKED_BYTE = 2**30


class Platform(Protocol):
    def lock(self, fd: int) -> None:
        """Lock an open file for this process. BlockingIOError at once if another one has it."""

    def unlock(self, fd: int) -> None: ...

    def lives(self, pid: int) -> bool:
        """Whether there is a process with this number."""

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable. OSError if the system cannot."""

    def die_with_parent(self) -> None:
        """End this process when its parent dies, as far as the system offers that."""

    def stop_signals(self) -> tuple[signal.Signals, ...]:
        """The signals that ask a launcher to stop."""


class Posix:
    """Linux, macOS and the BSDs. Only Linux ends a child with its parent."""

    def lock(self, fd: int) -> None:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(self, fd: int) -> None:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_UN)

    def lives(self, pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def sync_folder(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | NOT_INHERITED)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def die_with_parent(self) -> None:
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def stop_signals(self) -> tuple[signal.Signals, ...]:
        return signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT


class Windows:
    """Windows. A folder cannot be synced: the journal of NTFS orders the names."""

    def lock(self, fd: int) -> None:
        import msvcrt

        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError as error:
            raise BlockingIOError(error.errno, error.strerror) from error

    def unlock(self, fd: int) -> None:
        import msvcrt

        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]

    def lives(self, pid: int) -> bool:
        """`os.kill(pid, 0)` would end the process here."""
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
        handle = kernel.OpenProcess(_QUERY, False, pid)
        if not handle:
            return False
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == _STILL_ACTIVE

    def sync_folder(self, path: Path) -> None:
        pass

    def die_with_parent(self) -> None:
        """A job object of the launcher would do it; torchrun sets none."""

    def stop_signals(self) -> tuple[signal.Signals, ...]:
        return signal.SIGINT, signal.SIGTERM


def platform_of(name: str) -> Platform:
    """The platform for a value of `sys.platform`."""
    return Windows() if name == "win32" else Posix()


PLATFORM = platform_of(sys.platform)
