"""sha256 digests of a user's input files, remembered between runs so that unchanged files are not read again.

A remembered digest counts only while size, mtime, ctime and inode of the file are the same. Any difference means that
the file is read again, never that it changed. A file whose ctime lies within `_RACY_NS` of its reading is not
remembered: a later change within one tick of the file system's clock would leave the same times ("racy git").
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from autolabel.hardware import usable_cores
from autolabel.progress import Progress
from autolabel.store import durable
from autolabel.store.files import canonical_json, in_threads, sha256_bytes, sha256_open
from autolabel.user_files import open_regular

INPUT_DIGESTS = "input-digests.json"  # name of the file in a work folder

_FORMAT = 1
_RACY_NS = 2_000_000_000  # FAT's clock ticks every 2 s; most others tick every few milliseconds


_Stamp = list[int]  # size, mtime and ctime in ns, inode: some of it changes whenever the bytes do
_Table = dict[str, list[Any]]  # path below the root -> its stamp and, as the last item, its digest


class InputDigests:
    """Digests of files below a root, read from `file` and written to it by `remember`.

    `rehash` ignores what is remembered. Without `read` an unknown file is looked for, not opened: its digest is None.
    `check` is called after every file that is read and may raise.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        rehash: bool = False,
        read: bool = True,
        jobs: int = 0,
        quiet: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._file, self._jobs, self._quiet, self._check = file, jobs or usable_cores(), quiet, check
        self._may_read = read
        self._tables: dict[str, _Table] = {}
        self._used: dict[str, dict[str, str | None]] = {}
        self._loaded = rehash or file is None
        self._changed = rehash

    def of_file(self, path: Path) -> str:
        """The digest of one file. Raises OSError."""
        digest = self.of_files(path.parent, [path.name]).get(path.name)
        if digest is None:
            with open_regular(path) as file:  # raises the reason
                return sha256_open(file)
        return digest

    def of_files(self, root: Path, paths: Iterable[str]) -> dict[str, str | None]:
        """Path -> digest of the files below `root`; None for a file that cannot be read.

        Raises FileNotFoundError for a file that is missing.
        """
        self._load()
        table = self._tables.setdefault(str(root), {})
        found: dict[str, str | None] = {}
        for path in paths:
            known, stamp = table.get(path), _stamp(f"{root}/{path}")
            found[path] = known[-1] if known is not None and known[:-1] == stamp else None
        unknown = [path for path, digest in found.items() if digest is None]
        if unknown and self._may_read:
            found |= self._read(root, unknown, table)
        self._used.setdefault(str(root), {}).update(found)
        return found

    def used(self, root: Path) -> Mapping[str, str | None]:
        """The digests that this object has returned for files below `root`."""
        return self._used.get(str(root), {})

    def forget(self, root: Path, paths: Iterable[str]) -> None:
        """The next use of these files reads them."""
        table = self._tables.get(str(root), {})
        for path in paths:
            self._changed |= table.pop(path, None) is not None

    def remember(self) -> None:
        """Write the digests for later runs, if it has changed. Raises StoreError."""
        if self._file is None or not self._loaded or not self._changed:
            return
        tables = {root: _only(table, self._used.get(root)) for root, table in self._tables.items()}
        body = canonical_json({"format": _FORMAT, "roots": tables})
        for left in self._file.parent.glob(durable.TEMPORARY + "*"):  # of a run that was killed as it wrote
            if left.is_file():
                durable.remove_file(left)
        durable.write_file(self._file, sha256_bytes(body).encode() + b"\n", body)
        self._changed = False

    def _read(self, root: Path, paths: list[str], table: _Table) -> dict[str, str | None]:
        """Hash files in threads; remember those that are at rest."""
        found: dict[str, str | None] = {}
        self._changed = True
        with (
            Progress(total=len(paths), desc="hashing inputs", unit="file", quiet=self._quiet) as bar,
            closing(in_threads(lambda path: _hashed(f"{root}/{path}"), paths, jobs=self._jobs)) as hashed,
        ):
            for path, (stamp, digest) in zip(paths, hashed, strict=True):
                found[path] = digest
                table.pop(path, None)
                if stamp is not None and digest is not None:
                    table[path] = [*stamp, digest]
                bar.update()
                self._check()
        return found

    def _load(self) -> None:
        """A damaged file counts as an empty one: everything is read again."""
        if self._loaded:
            return
        assert self._file is not None
        self._loaded = True
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            with open_regular(self._file) as file:
                digest, _, body = file.read().partition(b"\n")
            if sha256_bytes(body).encode() == digest:
                self._tables = _decoded(json.loads(body))


def _decoded(document: Any) -> dict[str, _Table]:
    """The tables. Raises ValueError and others for a document of another shape."""
    roots: dict[str, _Table] = document["roots"]
    odd = any(type(row) is not list or len(row) != 5 for table in roots.values() for row in table.values())
    if document["format"] != _FORMAT or odd:
        raise ValueError("another format")
    return roots


def _only(table: _Table, paths: Mapping[str, object] | None) -> _Table:
    """The table without files that are gone: those of a root in use that nobody has asked for."""
    return table if paths is None else {path: table[path] for path in paths if path in table}


def _stamp(path: str) -> _Stamp | None:
    """None for a file of which not even this can be read. Raises FileNotFoundError."""
    try:
        return _stamp_of(os.stat(path))  # noqa: PTH116  # a Path each for 100,000 files takes a second
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise
        return None


def _stamp_of(found: os.stat_result) -> _Stamp:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _hashed(path: str) -> tuple[_Stamp | None, str | None]:
    """The digest of a file (None: it cannot be read), and its stamp if the digest may be remembered by it."""
    start = time.time_ns()
    try:
        with open_regular(path) as file:
            before = os.fstat(file.fileno())
            digest = sha256_open(file)
            after = os.fstat(file.fileno())
    except FileNotFoundError:
        raise
    except OSError:
        return None, None
    at_rest = _stamp_of(before) == _stamp_of(after) and after.st_ctime_ns < start - _RACY_NS
    return (_stamp_of(after) if at_rest else None), digest
