"""Locks, parents and signals of each system. Windows is tested with a stand-in for the module that only it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from autolabel import platforms
from autolabel.errors import WorkFolderLocked
from autolabel.platforms import PLATFORM, Platform, Posix, Windows, platform_of
from autolabel.store import hold_lock
from tests.helpers.paths import ROOT


@pytest.fixture
def msvcrt(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], int]:
    """Locked bytes as Windows keeps them: by file and position, whose value is the descriptor that holds it."""
    held: dict[tuple[int, int], int] = {}

    def locking(fd: int, mode: int, count: int) -> None:
        assert count == 1
        place = (os.fstat(fd).st_ino, os.lseek(fd, 0, os.SEEK_CUR))
        if mode == module.LK_UNLCK:
            assert held.pop(place) == fd
        elif held.setdefault(place, fd) != fd:
            raise PermissionError(13, "Permission denied")

    module = types.ModuleType("msvcrt")
    module.LK_NBLCK, module.LK_UNLCK, module.locking = 2, 0, locking  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    return held


@pytest.mark.parametrize("platform", [Posix(), Windows()], ids=["posix", "windows"])
def test_one_holder_at_a_time(platform: Platform, msvcrt: dict, tmp_path: Path) -> None:
    file = tmp_path / "lock"
    first, second = (os.open(file, os.O_RDWR | os.O_CREAT) for _ in range(2))
    platform.lock(first)
    with pytest.raises(BlockingIOError):
        platform.lock(second)
    platform.unlock(first)
    platform.lock(second)
    os.close(first)
    os.close(second)


def test_the_lock_of_a_work_folder_under_windows(msvcrt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows()
    monkeypatch.setattr(windows, "lives", lambda pid: pid == os.getpid(), raising=False)
    monkeypatch.setattr("autolabel.store.lock.PLATFORM", windows)
    path = tmp_path / "lock"
    with hold_lock(path):
        assert b'"pid"' in path.read_bytes(), "others can read who holds it: the locked byte lies behind the text"
        with pytest.raises(WorkFolderLocked, match=f"pid {os.getpid()}"), hold_lock(path):
            pass
    with hold_lock(path, remove=True):
        pass
    assert not msvcrt


def test_platforms_by_name() -> None:
    assert isinstance(platform_of("win32"), Windows)
    assert all(isinstance(platform_of(name), Posix) for name in ("linux", "darwin"))
    assert Windows().stop_signals() == (signal.SIGINT, signal.SIGTERM)
    assert set(Windows().stop_signals()) < set(Posix().stop_signals())


def test_a_process_that_ended_lives_no_more() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert PLATFORM.lives(child.pid)
    child.communicate()
    assert not PLATFORM.lives(child.pid)


def test_windows_does_not_sync_folders(tmp_path: Path) -> None:
    Windows().sync_folder(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        Posix().sync_folder(tmp_path / "missing")


_ELSEWHERE = """
import os, signal, sys
for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "O_NONBLOCK", "register_at_fork", "fork", "kill", "statvfs",
             "sched_getaffinity", "pread", "pwrite"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGQUIT", "SIGKILL"):
    delattr(signal, name)
sys.modules["fcntl"] = sys.modules["resource"] = None
import autolabel.platforms
autolabel.platforms.PLATFORM = autolabel.platforms.Windows()
import autolabel.cli.main, autolabel.cli.launch, autolabel.hardware, autolabel.distributed
from autolabel.store import durable, files
assert autolabel.hardware.usable_cores() >= 1
assert autolabel.hardware.free_memory() > 0
from pathlib import Path
folder = Path(sys.argv[1])
durable.write_file(folder / "a" / "b", b"x\\n")
assert files.read_regular(folder / "a" / "b") == b"x\\n"
"""


def test_the_package_and_its_store_work_without_what_windows_lacks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_flags_are_those_of_this_system() -> None:
    assert platforms.SAFE_OPEN & os.O_NOFOLLOW
    assert platforms.SAFE_OPEN & os.O_CLOEXEC
