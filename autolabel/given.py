"""Files that a user names: whatever stands there, reading ends."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_given(path: Path) -> BufferedReader:
    """A regular file, opened to read; links are followed.

    Raises OSError, also for a named pipe, a device or a socket (they may never end, or never begin) and for a name
    that no file can have.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb")
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_given(path: Path) -> bytes:
    """All bytes of a regular file; errors as of `open_given`."""
    with open_given(path) as file:
        return file.read()
