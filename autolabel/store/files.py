"""The reading side of the store: regular files, and sha256 digests of bytes, files and canonical JSON.

Symbolic links are never followed, except by `sha256_file`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from autolabel.errors import CorruptArtefact, StoreError
from autolabel.platforms import NO_WAITING, SAFE_OPEN
from autolabel.user_files import open_regular

ALGORITHM = "sha256"  # recorded beside every digest on disk, so that another one can be told apart later

Bytes = bytes | bytearray | memoryview


def sha256_bytes(data: Bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Digest of a file read in blocks. Raises OSError; follows symbolic links, as a user's data tree may hold them."""
    with open_regular(path) as file:
        return sha256_open(file)


def sha256_open(file: BufferedReader) -> str:
    """Digest of an open file, read in blocks. Raises OSError."""
    return hashlib.file_digest(file, ALGORITHM).hexdigest()


def canonical_encoder() -> json.JSONEncoder:
    """One text for one value: sorted keys, no spaces, ASCII only. NaN and infinities raise ValueError."""
    return json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_json(obj: object) -> bytes:
    """The bytes of `canonical_encoder`."""
    return canonical_encoder().encode(obj).encode("ascii")


def json_text(text: bytes) -> str:
    """The string of canonical JSON that stands between its quotes, in a third of the time of `json.loads`."""
    return text.decode() if b"\\" not in text else str(json.loads(b'"%b"' % text))


def digest_json(obj: object) -> str:
    return sha256_bytes(canonical_json(obj))


def digest_json_list(items: Iterable[object]) -> str:
    """`digest_json` of a list. It and the iterators in it are read item by item: they need not fit in memory."""
    digest, encode = hashlib.sha256(), canonical_encoder().encode
    for text in _texts(iter(items), encode):
        digest.update(text.encode("ascii"))
    return digest.hexdigest()


def _texts(item: object, encode: Callable[[object], str]) -> Iterator[str]:
    if not isinstance(item, Iterator):
        yield encode(item)
        return
    yield "["
    for number, member in enumerate(item):
        if number:
            yield ","
        yield from _texts(member, encode)
    yield "]"


_T = TypeVar("_T")
_Item = TypeVar("_Item")

_BLOCK = 32  # most items that a thread takes at once
_BLOCKS_PER_THREAD = 8  # at least, where there are so many items: one thread must not get all large files

# Errors of a damaged or tampered tree. Any other error (permissions, too many open files) is not damage.
_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.EBADMSG}


def read_regular(path: Path) -> bytes:
    """All bytes of a file. CorruptArtefact if it is missing, unreadable, a link or not a regular file."""
    return _consume(path, lambda file: file.read())


def regular_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends, read as they are asked for; errors as in `read_regular`."""
    with _open_regular(path) as file:
        while line := _damage_named(path, file.readline):
            yield line


def sha256_regular(path: Path) -> str:
    """Digest of a file, read in blocks; errors as in `read_regular`."""
    return _consume(path, lambda file: hashlib.file_digest(file, ALGORITHM).hexdigest())


def sha256_all(folder: Path, names: Sequence[str], *, jobs: int) -> Iterator[tuple[str, str | StoreError]]:
    """Each named file of a folder with its digest or its error. Runs in `jobs` threads (hashing releases the GIL)."""

    def digest(name: str) -> str | StoreError:
        try:
            return sha256_regular(folder / name)
        except StoreError as error:
            return error

    return zip(names, in_threads(digest, names, jobs=jobs), strict=True)


def in_threads(function: Callable[[_Item], _T], items: Sequence[_Item], *, jobs: int) -> Generator[_T, None, None]:
    """The results in the order of the items, from `jobs` threads. A caller that may stop early closes the iterator.

    A thread takes a block of items at a time: an object for each of 100,000 tasks costs more than hashing small files.
    """
    size = max(1, min(_BLOCK, len(items) // (_BLOCKS_PER_THREAD * jobs)))
    blocks = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(jobs) as pool:  # closing the iterator of `map` cancels what no thread has begun
        for results in pool.map(lambda block: [function(item) for item in block], blocks):
            yield from results


def list_files(folder: Path) -> tuple[dict[str, int], list[str]]:
    """Relative name -> size of each regular file at any depth, and the names that are neither file nor folder.

    A missing folder counts as empty.
    """
    sizes: dict[str, int] = {}
    odd: list[str] = []
    for name, size in walk_files(folder):
        if size is None:
            odd.append(name)
        else:
            sizes[name] = size
    return dict(sorted(sizes.items())), sorted(odd)


def walk_files(folder: Path) -> Iterator[tuple[str, int | None]]:
    """As `list_files`, one by one and in any order; the size of what is no regular file is None.

    A file that another process removes or renames meanwhile is passed over.
    """
    if folder.is_symlink() or not folder.is_dir():
        if os.path.lexists(folder):
            yield ".", None
        return
    for inner in folders_of(folder):
        prefix = "" if inner == folder else f"{inner.relative_to(folder).as_posix()}/"
        for entry in os.scandir(inner):
            if entry.is_file(follow_symlinks=False):
                try:
                    size = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
                yield prefix + entry.name, size
            elif not entry.is_dir(follow_symlinks=False):
                yield prefix + entry.name, None


def bytes_in(folder: Path) -> int:
    """Total size of the regular files in a folder, in bytes; 0 if it is missing."""
    return sum(list_files(folder)[0].values())


def folders_of(folder: Path) -> list[Path]:
    """The folder and all folders below it; a folder comes before those inside it."""
    folders = [folder]
    for inner in folders:  # grows while it is read
        with os.scandir(inner) as entries:
            folders.extend(sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)))
    return folders


def _consume(path: Path, use: Callable[[BufferedReader], _T]) -> _T:
    with _open_regular(path) as file:
        return _damage_named(path, lambda: use(file))


def _open_regular(path: Path) -> BufferedReader:
    # O_NONBLOCK: a named pipe in the place of a file must not hang the run
    file = _damage_named(path, lambda: os.fdopen(os.open(path, os.O_RDONLY | SAFE_OPEN | NO_WAITING), "rb"))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise CorruptArtefact(path, "is not a regular file")
    return file


def _damage_named(path: Path, step: Callable[[], _T]) -> _T:
    try:
        return step()
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise StoreError(path, error.strerror or str(error), "the file could not be read; run again") from error
        what = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror or str(error)
        raise CorruptArtefact(path, what) from error
