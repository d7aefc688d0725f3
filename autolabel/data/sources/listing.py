"""Listing folders and name lists, with errors that name what is missing.

Hidden files and folders (`.DS_Store`, `._x.png`, `.git`) do not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from autolabel.errors import DataError
from autolabel.user_files import read_text

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def require_folder(folder: Path, remedy: str) -> Path:
    """The folder itself; raises DataError where it is missing."""
    if not folder.is_dir():
        raise DataError(folder, "no such folder", remedy)
    return folder


def read_names(file: Path, remedy: str) -> list[str]:
    """The names of a list file, one a line; blank lines do not count. Raises DataError for a name that stands twice."""
    names = [line.strip() for line in read_text(file, DataError, remedy).splitlines() if line.strip()]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(file, f"{name!r} stands in it twice", "remove one of the two lines")
        seen.add(name)
    return names


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Name without suffix -> relative path with forward slashes, of all files below `folder` that end so, any case.

    Follows links to folders, each folder once. Raises DataError where two files differ in their suffix only.
    """
    found: dict[str, str] = {}
    for path in sorted(_walk(folder)):
        suffix = PurePosixPath(path).suffix
        stem = path.removesuffix(suffix)
        if suffix.lower() not in suffixes:
            continue
        if stem in found:
            raise DataError(folder, f"{found[stem]!r} and {path!r} have the same name", "keep one of them")
        found[stem] = path
    return found


def _walk(folder: Path) -> Iterator[str]:
    """Relative paths of the files below `folder`; a dangling link counts, so that whoever reads it can complain."""
    waiting, visited = [""], set()
    while waiting:
        here = waiting.pop()
        real = (folder / here).resolve()
        if real in visited:
            continue
        visited.add(real)
        for entry in _entries(folder / here):
            path = f"{here}/{entry.name}".lstrip("/")
            if entry.is_dir():
                waiting.append(path)
            elif entry.is_file() or entry.is_symlink():
                yield path


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(folder, f"cannot be listed: {error.strerror}", "check its permissions") from error
