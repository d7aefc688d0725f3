"""Reading of files that a user names: it always ends, and every failure is a one-line error."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from autolabel.errors import AutolabelError
from autolabel.platforms import BINARY, NO_WAITING, NOT_INHERITED

MAX_TEXT = 64_000_000  # bytes of a list or a description: a million names


def open_regular(path: Path | str) -> BufferedReader:
    """Open a regular file for reading; links are followed.

    Raises OSError, also for a named pipe, a device or a socket (reading these may block or never end) and for an
    impossible file name.
    """
    try:
        fd = os.open(path, os.O_RDONLY | NOT_INHERITED | BINARY | NO_WAITING)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb")
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def open_user_file(path: Path, error_type: type[AutolabelError], remedy: str = "") -> BufferedReader:
    """As `open_regular`, but raises `error_type` instead of OSError."""
    with reading(path, error_type, remedy):
        return open_regular(path)


def read_user_file(
    path: Path, error_type: type[AutolabelError], remedy: str = "", *, at_most: int | None = None, where: object = None
) -> bytes:
    """All bytes of a regular file. Raises `error_type`, also if it has more than `at_most` bytes.

    `where` names the file in the error, by default its path.
    """
    where = path if where is None else where
    with reading(where, error_type, remedy), open_regular(path) as file:
        data = file.read() if at_most is None else file.read(at_most + 1)
    if at_most is not None and len(data) > at_most:
        raise error_type(where, f"is larger than {at_most:,} bytes, the limit for such a file", remedy)
    return data


def read_text(path: Path, error_type: type[AutolabelError], remedy: str = "", *, at_most: int = MAX_TEXT) -> str:
    """The UTF-8 text of a regular file of at most so many bytes, without a byte order mark. Raises `error_type`."""
    try:
        return read_user_file(path, error_type, remedy, at_most=at_most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise error_type(path, "is not UTF-8 text", remedy) from error


@contextmanager
def reading(where: object, error_type: type[AutolabelError], remedy: str = "") -> Iterator[None]:
    """Turn an OSError in the block into one line of `error_type`."""
    try:
        yield
    except OSError as error:
        raise error_type(where, f"cannot be read: {error.strerror or error}", remedy) from error
