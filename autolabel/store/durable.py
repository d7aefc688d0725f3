"""The one module that changes the disk. When a function here returns, its change survives kill -9 and power loss.

A file is written whole: temporary file in the same folder -> write -> fsync -> rename -> fsync of the folder. A reader
sees the old bytes or the new ones. Every error of the system becomes a StoreError with the system's own reason.
After a failed fsync the file is abandoned: the kernel may have dropped its pages, and a second fsync would succeed
without having written them (fsyncgate, PostgreSQL 2018).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from autolabel.errors import StoreError
from autolabel.platforms import PLATFORM, SAFE_OPEN
from autolabel.store.files import Bytes, folders_of
from autolabel.store.hooks import effect
from autolabel.store.names import check_name
from autolabel.store.os_errors import os_errors, refused_link

TEMPORARY = ".tmp-"  # no safe name starts with a dot


def write_file(path: Path, *chunks: Bytes) -> None:
    """Creates or replaces one file, atomically, from consecutive chunks. Makes missing folders."""
    make_folder(path.parent)
    with os_errors(path):
        _put(path, chunks)
        _fsync_folder(path.parent)


def write_files(folder: Path, items: Iterable[tuple[str, Bytes]], *, threads: int = 8) -> None:
    """Writes (name, data) pairs into a folder; names may be nested ("auto/x.png") and are checked.

    Each file gets its own fsync, in `threads` threads that wait for the disk together, then each folder gets one: about
    seven times faster than one by one. Items are read as needed, so a generator never has to fit in memory. After an
    error some of the files exist, each of them whole.
    """
    make_folder(folder)
    folders = {folder}
    rest = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(rest, 4 * threads)):
            paths = [folder / check_name(name) for name, _ in batch]
            assert len(set(paths)) == len(paths), "a name occurs twice in one call"
            for parent in sorted({path.parent for path in paths} - folders):
                _make_inside(folder, parent)
                folders.add(parent)
            list(pool.map(_put_one, paths, (data for _, data in batch)))  # a list, to raise what a thread raised
    for touched in sorted(folders):
        sync_folder(touched)


def _put_one(path: Path, data: Bytes) -> None:
    with os_errors(path):
        _put(path, (data,))


def _put(path: Path, chunks: Iterable[Bytes]) -> None:
    temporary = path.with_name(TEMPORARY + secrets.token_hex(8))
    try:
        with effect("create", temporary):
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE_OPEN, 0o666)
        try:
            for chunk in chunks:
                with effect("write", temporary, data=chunk):
                    _write_all(fd, chunk)
            _fsync(fd, temporary)
        finally:
            os.close(fd)
        _rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            _unlink(temporary)
        raise


def _write_all(fd: int, data: Bytes) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(fd, rest) :]


def ensure_file(path: Path) -> None:
    """Makes an empty file if there is none."""
    make_folder(path.parent)
    with os_errors(path):
        _create_missing(path)
        _fsync_folder(path.parent)  # also if it exists: its maker may have been killed before this line


def append_file(path: Path, data: Bytes, *, at: int) -> None:
    """Appends to a file that is `at` bytes long, and fsyncs it; on an error it is truncated to `at` again.

    StoreError if it has another length: another process has written to it.
    """
    with os_errors(path), _opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        if (size := os.fstat(fd).st_size) != at:
            raise StoreError(path, f"is {size} bytes long instead of {at}", "let one run at a time write here")
        try:
            with effect("append", path, data=data):
                _write_all(fd, data)
            _fsync(fd, path)
        except BaseException:
            with suppress(OSError):
                _truncate(fd, path, at)
            raise


def append_log(path: Path, data: Bytes) -> None:
    """Appends without fsync: a log line survives kill -9, but only `sync_file` makes it survive a power cut."""
    with os_errors(path):
        _create_missing(path)
        with _opened(path, os.O_WRONLY | os.O_APPEND) as fd, effect("append", path, data=data):
            _write_all(fd, data)


def truncate_file(path: Path, size: int) -> None:
    with os_errors(path), _opened(path, os.O_WRONLY) as fd:
        _truncate(fd, path, size)
        _fsync(fd, path)


def sync_file(path: Path) -> None:
    with os_errors(path), _opened(path, os.O_RDONLY) as fd:
        _fsync(fd, path)


def open_lock_file(path: Path) -> int:
    """Descriptor of a lock file, which is made if missing; closed on exec. The caller closes it. Not durable."""
    make_folder(path.parent)
    with os_errors(path), effect("create", path):
        return os.open(path, os.O_RDWR | os.O_CREAT | SAFE_OPEN, 0o666)


def write_lock_file(fd: int, path: Path, data: bytes) -> None:
    """Replaces the text of a lock file in place: the lock belongs to the file, so the file must stay the same."""
    with os_errors(path):
        _truncate(fd, path, 0)
        with effect("write", path, data=data):
            os.lseek(fd, 0, os.SEEK_SET)
            _write_all(fd, data)


def _create_missing(path: Path) -> None:
    if not path.exists():
        with effect("create", path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | SAFE_OPEN, 0o666))


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | SAFE_OPEN)
    try:
        yield fd
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Makes a folder and the missing ones above it.

    A folder's own entry is always durable before anything is made inside it: the deepest one that exists is synced
    again, because its maker may have been killed between mkdir and fsync.
    """
    with os_errors(path):
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        with suppress(PermissionError):  # a parent that we may not open existed before us
            _fsync_folder(path.parent)
        for folder in reversed(missing):
            _mkdir(folder)
            _fsync_folder(folder.parent)


def _make_inside(base: Path, path: Path) -> None:
    inside = path.relative_to(base)
    for part in (inside, *inside.parents[:-1]):
        if (base / part).is_symlink():
            raise refused_link(base / part)
    make_folder(path)


def publish(source: Path, target: Path) -> None:
    """Renames a folder within its parent folder; StoreError if the new name is taken (nothing is overwritten)."""
    assert source.parent == target.parent, "a rename is atomic only within one folder"
    with os_errors(target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "already exists")
        _rename(source, target)
        _fsync_folder(target.parent)


def sync_folder(path: Path) -> None:
    """Makes the names in one folder durable."""
    with os_errors(path):
        _fsync_folder(path)


def sync_folders(path: Path) -> None:
    """Makes the names in a folder and all folders below it durable."""
    with os_errors(path):
        for folder in folders_of(path):
            _fsync_folder(folder)


def remove_file(path: Path) -> None:
    """Removes a file; only `sync_folder` makes that durable."""
    with os_errors(path):
        _unlink(path)


def remove_temporaries(path: Path) -> None:
    """Removes the temporary files of killed writers in a folder and below it."""
    with os_errors(path):
        for temporary in [file for folder in folders_of(path) for file in folder.glob(TEMPORARY + "*")]:
            _unlink(temporary)


def remove_empty_folders(path: Path) -> None:
    """Removes all empty folders below a folder."""
    with os_errors(path):
        for folder in reversed(folders_of(path)):
            if folder != path and not any(folder.iterdir()):
                _rmdir(folder)


def remove_tree(path: Path) -> None:
    """Removes a folder and its contents, if it exists; links are removed, not followed. Not yet durable."""
    with os_errors(path):
        if not os.path.lexists(path):
            return
        if path.is_symlink():
            raise refused_link(path)
        for folder in reversed(folders_of(path)):
            for entry in list(os.scandir(folder)):
                if not entry.is_dir(follow_symlinks=False):
                    _unlink(Path(entry.path))
            _rmdir(folder)


def _fsync(fd: int, path: Path) -> None:
    with effect("fsync", path):
        os.fsync(fd)


def _fsync_folder(path: Path) -> None:
    try:
        with effect("fsync_folder", path):
            PLATFORM.sync_folder(path)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder, and say so
            raise


def _rename(source: Path, target: Path) -> None:
    with effect("rename", source, target=target):
        source.rename(target)


def _unlink(path: Path) -> None:
    with effect("unlink", path):
        path.unlink()


def _truncate(fd: int, path: Path, size: int) -> None:
    with effect("truncate", path, size=size):
        os.ftruncate(fd, size)


def _rmdir(path: Path) -> None:
    with effect("rmdir", path):
        path.rmdir()


def _mkdir(path: Path) -> None:
    try:
        with effect("mkdir", path):
            path.mkdir()
    except FileExistsError:  # another rank was faster; a file of that name is an error
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "exists and is not a folder") from None
