"""sha256 digests of a user's input files, remembered between runs so that unchanged files are not read again.

A remembered digest counts only while size, mtime, ctime and inode of the file are the same. Any difference means that
the file is read again, never that it changed. A file whose ctime lies within `_RACY_NS` of its reading is not
remembered: a later change within one tick of the file system's clock would leave the same times ("racy git").
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import BinaryIO

from autolabel.hardware import usable_cores
from autolabel.progress import Progress
from autolabel.store import durable
from autolabel.store.files import ALGORITHM, in_threads, json_text, sha256_bytes, sha256_open
from autolabel.user_files import open_regular

INPUT_DIGESTS = "input-digests.json"  # name of the file in a work folder

_FORMAT = 1
_RACY_NS = 2_000_000_000  # FAT's clock ticks every 2 s; most others tick every few milliseconds


_BLOCK = 1 << 16  # bytes of the file that are read at once
_NUM_DIGEST = 32  # bytes of a digest

_Stamp = list[int]  # size, mtime and ctime in ns, inode: some of it changes whenever the bytes do
# Path below the root -> its stamp as JSON writes it, and the 32 bytes of its digest: as objects, the numbers and the
# hexadecimal digits of 100,000 files take 40 MB more.
_Table = dict[str, bytes]


class Digests(Mapping[str, str | None]):
    """Path -> digest in hexadecimal digits; None for a file that cannot be read. It is held as bytes."""

    def __init__(self, records: Mapping[str, bytes | None]) -> None:
        """A record ends with the 32 bytes of the digest."""
        self._records = records

    def __getitem__(self, path: str) -> str | None:
        record = self._records[path]
        return None if record is None else _digest_in(record)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


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
        self._used: dict[str, dict[str, bytes | None]] = {}
        self._loaded = rehash or file is None
        self._changed = rehash

    def of_file(self, path: Path) -> str:
        """The digest of one file. Raises OSError."""
        digest = self.of_files(path.parent, [path.name]).get(path.name)
        if digest is None:
            with open_regular(path) as file:  # raises the reason
                return sha256_open(file)
        return digest

    def of_files(self, root: Path, paths: Iterable[str]) -> Digests:
        """Path -> digest of the files below `root`; None for a file that cannot be read.

        Raises FileNotFoundError for a file that is missing.
        """
        self._load()
        table = self._tables.setdefault(str(root), {})
        found: dict[str, bytes | None] = {}
        for path in paths:
            known, stamp = table.get(path), _stamp(f"{root}/{path}")
            found[path] = known if known is not None and known[:-_NUM_DIGEST] == _stamp_text(stamp) else None
        unknown = [path for path, record in found.items() if record is None]
        if unknown and self._may_read:
            self._read(root, unknown, table, found)
        earlier = self._used.get(str(root))
        self._used[str(root)] = found if earlier is None else earlier | found
        return Digests(found)

    def used(self, root: Path) -> Digests:
        """The digests that this object has returned for files below `root`."""
        return Digests(self._used.get(str(root), {}))

    def forget(self, root: Path, paths: Iterable[str]) -> None:
        """The next use of these files reads them."""
        table = self._tables.get(str(root), {})
        for path in paths:
            self._changed |= table.pop(path, None) is not None

    def release(self) -> None:
        """Free the memory of the digests; they are read from the file again when one is asked for."""
        if self._file is not None and not self._changed:
            self._loaded, self._tables, self._used = False, {}, {}

    def remember(self) -> None:
        """Write the digests for later runs, if it has changed. Raises StoreError."""
        if self._file is None or not self._loaded or not self._changed:
            return
        body = bytearray(_HEAD)
        for number, (root, table) in enumerate(sorted(self._tables.items())):
            body += b"%b%b:{" % (b"," if number else b"", _json_text(root))
            for row, line in enumerate(_lines(table, self._used.get(root))):
                body += b"," + line if row else line
            body += b"}"
        body += b"}}"
        for left in self._file.parent.glob(durable.TEMPORARY + "*"):  # of a run that was killed as it wrote
            if left.is_file():
                durable.remove_file(left)
        durable.write_file(self._file, sha256_bytes(body).encode() + b"\n", body)
        self._changed = False

    def _read(self, root: Path, paths: list[str], table: _Table, found: dict[str, bytes | None]) -> None:
        """Hash files in threads; remember those that are at rest."""
        self._changed = True
        with (
            Progress(total=len(paths), desc="hashing inputs", unit="file", quiet=self._quiet) as bar,
            closing(in_threads(lambda path: _hashed(f"{root}/{path}"), paths, jobs=self._jobs)) as hashed,
        ):
            for path, (stamp, digest) in zip(paths, hashed, strict=True):
                found[path] = None if digest is None else _stamp_text(stamp) + bytes.fromhex(digest)
                table.pop(path, None)
                if stamp is not None and (record := found[path]) is not None:
                    table[path] = record
                bar.update()
                self._check()

    def _load(self) -> None:
        """A damaged file counts as an empty one: everything is read again."""
        if self._loaded:
            return
        assert self._file is not None
        self._loaded = True
        with suppress(OSError, ValueError), open_regular(self._file) as file:
            first, digest = file.readline(_BLOCK), hashlib.new(ALGORITHM)
            tables = _tables_in(_blocks(file, digest.update))
            if first == digest.hexdigest().encode() + b"\n":
                self._tables = tables


_HEAD = b'{"format":%d,"roots":{' % _FORMAT
_TEXT = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_ROW = rb'\[(-?[0-9]+(?:, ?-?[0-9]+){3}), ?"([0-9a-f]{64})"\]'
_TOKEN = re.compile(rb",?%b:(?:%b|\{)|\}" % (_TEXT, _ROW))  # a file of a root, the begin of a root, or an end


def _blocks(file: BinaryIO, hear: Callable[[bytes], object]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        hear(block)
        yield block


def _tables_in(blocks: Iterable[bytes]) -> dict[str, _Table]:
    """The tables of a file that `remember` wrote, read piece by piece. Raises ValueError for any other."""
    tables: dict[str, _Table] = {}
    table: _Table | None = None
    for token in _tokens(blocks):
        name, stamp, digest = token.groups()
        if name is None:
            table = None
        elif stamp is None:
            table = tables.setdefault(json_text(name), {})
        elif table is None:
            raise ValueError("a file outside a root")
        else:
            table[json_text(name)] = stamp.replace(b" ", b"") + bytes.fromhex(digest.decode())
    return tables


def _tokens(blocks: Iterable[bytes]) -> Iterator[re.Match[bytes]]:
    """Raises ValueError for bytes that are none."""
    rest, at = b"", -1
    for block in blocks:
        rest = rest[max(at, 0) :] + block
        if at < 0 and not rest.startswith(_HEAD):
            raise ValueError("another format")
        at = len(_HEAD) if at < 0 else 0
        while token := _TOKEN.match(rest, at):
            yield token
            at = token.end()
        if len(rest) - at > _BLOCK:
            raise ValueError("another shape")
    if rest[at:]:
        raise ValueError("cut short")


def _json_text(text: str) -> bytes:
    """As in `canonical_json`."""
    return encode_basestring_ascii(text).encode()


def _lines(table: _Table, paths: Iterable[str] | None) -> Iterator[bytes]:
    """The rows of a table as JSON, without files that are gone: those of a root in use that nobody has asked for."""
    for path in sorted(table if paths is None else paths):
        if (record := table.get(path)) is not None:
            yield b'%b:[%b,"%b"]' % (_json_text(path), record[:-_NUM_DIGEST], _digest_in(record).encode())


def _digest_in(record: bytes) -> str:
    return record[-_NUM_DIGEST:].hex()


def _stamp_text(stamp: _Stamp | None) -> bytes:
    """Empty for a file that is not at rest."""
    return b"" if stamp is None else b"%d,%d,%d,%d" % tuple(stamp)


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
