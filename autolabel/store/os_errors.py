"""Turns an OSError into a StoreError with the system's reason and a remedy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autolabel.errors import StoreError

_REMEDIES = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some of your quota and run again",
    errno.EROFS: "choose a folder on a writable disk",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.EIO: "check the disk, then run again",
    errno.ELOOP: "symbolic links are refused here; put what it points to in its place",
}


@contextmanager
def os_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "nothing was left half-written; run again")
        raise StoreError(where, error.strerror or str(error), remedy) from error


def refused_link(path: Path) -> StoreError:
    return StoreError(path, "is a symbolic link", _REMEDIES[errno.ELOOP])
