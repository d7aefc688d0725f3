"""Read folders and lists of names, with errors that name the missing item.

Hidden files and folders (`.DS_Store`, `._x.png`, `.git`) are skipped, and work folders of autolabel: their labels are
no data.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from autolabel.errors import DataError
from autolabel.store import WORK_MARK
from autolabel.user_files import read_text

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff")


def require_folder(folder: Path, remedy: str) -> Path:
    """Return the folder. Raises DataError if it is missing."""
    if not folder.is_dir():
        raise DataError(folder, "no such folder", remedy)
    return folder


def read_names(file: Path, remedy: str) -> list[str]:
    """Names in a list file, one per line; blank lines are skipped. Raises DataError for a repeated name."""
    names = [line.strip() for line in read_text(file, DataError, remedy).splitlines() if line.strip()]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(file, f"{name!r} stands in it twice", "remove one of the two lines")
        seen.add(name)
    return names


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Path without suffix -> path, for all files below `folder` with one of the `suffixes` in upper or lower case.

    Paths are relative to `folder`, with forward slashes. Links to folders are followed, each folder once. Raises
    DataError if two files differ only in their suffix.
    """
    by_name: dict[str, str] = {}
    for path in sorted(files_below(folder)):
        suffix = posixpath.splitext(path)[1]
        stem = path.removesuffix(suffix)
        if suffix.lower() not in suffixes:
            continue
        if stem in by_name:
            raise DataError(folder, f"{by_name[stem]!r} and {path!r} have the same name", "keep one of them")
        by_name[stem] = path
    return by_name


def suffix_of(path: str) -> str:
    """The suffix of a relative path as `PurePosixPath.suffix` gives it, in a fraction of the time."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def files_below(folder: Path) -> Iterator[str]:
    """Relative paths of the files below `folder`, with dangling links, so that reading these fails with an error.

    Links to folders are followed, each folder once. Raises DataError if a folder cannot be listed.
    """
    waiting, visited = [""], set()
    while waiting:
        here = waiting.pop()
        real = (folder / here).resolve()
        if real in visited:
            continue
        visited.add(real)
        folders, files = _entries(folder / here)
        if here and WORK_MARK in files:
            continue
        waiting += [f"{here}/{name}".lstrip("/") for name in folders]
        yield from (f"{here}/{name}".lstrip("/") for name in files)


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Sorted names of the folders and the files in a folder: alone, for an entry of the system takes much more."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name[0] == ".":
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file() or entry.is_symlink():
                    files.append(entry.name)
    except OSError as error:
        raise DataError(folder, f"cannot be listed: {error.strerror}", "check its permissions") from error
    return sorted(folders), sorted(files)
