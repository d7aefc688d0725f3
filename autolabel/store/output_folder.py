"""Folders that a user names with --out: one command at a time writes there, and only over files that it wrote itself.

    OUT/unfinished.journal   while the work goes on: what is being done, then name and sha256 of each file
    OUT/<index>              written last: what was done, and name and sha256 of each file

A file is ours if its bytes have a digest that one of the two names. The row of a file is in the journal before the file
is there, so a killed command never leaves a file that counts as foreign. A file that a person has corrected since is
theirs. Nothing is ever written into an artefact or a draft.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from autolabel.errors import ConfigError, CorruptArtefact, StoreError
from autolabel.store import durable
from autolabel.store.artefact import COMMIT, MANIFEST
from autolabel.store.files import Bytes, digest_json, list_files, read_regular, sha256_bytes, sha256_regular
from autolabel.store.journal import Journal, parse
from autolabel.store.lock import hold_lock
from autolabel.store.work_mark import read_mark

UNFINISHED = "unfinished.journal"
LOCK = ".autolabel-lock"
_WORK = "work_sha256"  # in the index: digest of the settings and inputs

_DRAFT = re.compile(r"[0-9a-f]{16}\.(partial|corrupt-\d+)")
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def check_place(out: Path) -> None:
    """ConfigError if `out` lies among the artefacts of a work folder, or in a draft, also by a symbolic link."""
    real = Path(os.path.realpath(out))  # a ring of links has no end, and is no error here
    for folder in (real, *real.parents):
        if _DRAFT.fullmatch(folder.name) or ((folder / COMMIT).is_file() and (folder / MANIFEST).is_file()):
            raise ConfigError(out, f"lies in the artefact {folder.name}, which never changes", "give another --out")
        if folder.name == "artefacts" and read_mark(folder.parent) is not None:
            raise ConfigError(out, f"lies among the artefacts of {folder.parent}", "give another --out")


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the right to make the file or folder `out` as a whole. WorkFolderLocked if another command has it."""
    check_place(out)
    with hold_lock(out.with_name(f"{durable.TEMPORARY}{out.name}.lock"), remove=True):
        yield


class OutputFolder:
    """A folder that is being filled by one command; `open_output` makes it.

    `work` says what the command does: its settings, and the digests of its inputs.
    """

    def __init__(self, path: Path, work: Mapping[str, Any], index: str, *, overwrite: bool) -> None:
        self.path, self._index, self._overwrite = path, index, overwrite
        self._work = {"work": digest_json(work)}
        self._ours = _rows(path, index)
        self._written: dict[str, str] = {}

    def require_ours(self, names: Iterable[str]) -> None:
        """ConfigError if one of these files is there and its bytes are not of this command or an earlier one."""
        for name in names if not self._overwrite else ():
            file = self.path / name
            if (file.exists() or file.is_symlink()) and not self._is_ours(name):
                what = "is there already, and not as this command wrote it"
                raise ConfigError(file, what, "move it away, give another --out, or replace it with --overwrite")

    def require_new(self) -> None:
        """ConfigError unless the folder is empty, or holds only files of the same work, unfinished or finished."""
        names = set(_names(self.path)) - {UNFINISHED}  # whose first row may be missing after a kill
        if not all(map(self._is_ours, names)) or (names and not _unfinished(self.path) and not self._is_finished()):
            raise ConfigError(self.path, "exists and is not an empty folder", "give a new folder with --out")

    def require_same_work(self) -> None:
        """ConfigError if the folder holds unfinished work with other settings or inputs."""
        rows = _unfinished(self.path)
        if rows and rows[0] != self._work and not self._overwrite:
            what = "holds unfinished work with other settings or inputs"
            raise ConfigError(self.path, what, "repeat that command to its end, or give another --out")

    def begin(self) -> None:
        """Say on the disk what is going to be done."""
        durable.remove_temporaries(self.path)
        self._journal = Journal(self.path / UNFINISHED)
        if not self._journal.rows or self._journal.rows[0] != self._work:
            rows = [self._work, *({"file": name, "sha256": sha} for name, all_ in self._ours.items() for sha in all_)]
            durable.remove_file(self.path / UNFINISHED)
            self._journal = Journal(self.path / UNFINISHED)
            self._journal.append(rows)

    def write(self, items: Iterable[tuple[str, Bytes]], *, updated: bool = False) -> dict[str, str]:
        """Write files; returns the sha256 of each by name. ConfigError if one would replace a file of someone else.

        `updated`: the new bytes were made from those on the disk, so that nothing of them is lost.
        """
        batch = list(items)
        digests = {name: sha256_bytes(data) for name, data in batch}
        if not updated:
            self.require_ours(digests)
        self._journal.append({"file": name, "sha256": digest} for name, digest in digests.items())
        durable.write_files(self.path, batch)
        self._written |= digests
        for name, digest in digests.items():
            self._ours.setdefault(name, set()).add(digest)
        return digests

    def remove(self, name: str) -> None:
        """Remove a file that is made again later."""
        durable.remove_file(self.path / name)
        self._written.pop(name, None)

    def rows(self) -> list[dict[str, str]]:
        """Name and sha256 of each file that is ours, of earlier commands too, by name."""
        earlier = [(name, sha) for name, all_ in self._ours.items() if name not in self._written for sha in all_]
        there = [(name, sha) for name, sha in earlier if (self.path / name).is_file()]
        return [{"file": name, "sha256": sha} for name, sha in sorted([*there, *self._written.items()])]

    def finish(self, document: Mapping[str, Any]) -> None:
        """Write the index, whose rows in "files" and "labels" name the digests; the work is done.

        A command that is killed or fails after this may be repeated: `work_sha256` says that it is the same work.
        """
        text = json.dumps({**document, _WORK: self._work["work"]}, indent=1, sort_keys=True)
        durable.write_file(self.path / self._index, text.encode())
        durable.remove_file(self.path / UNFINISHED)
        durable.sync_folder(self.path)

    def _is_ours(self, name: str) -> bool:
        if name == self._index:
            return _indexed(self.path / name) is not None
        return name == UNFINISHED or self._digest(name) in self._ours.get(name, ())

    def _is_finished(self) -> bool:
        """Whether the index says that this very work is done."""
        with suppress(CorruptArtefact, *_MALFORMED):
            return bool(json.loads(read_regular(self.path / self._index))[_WORK] == self._work["work"])
        return False

    def _digest(self, name: str) -> str | None:
        with suppress(CorruptArtefact, StoreError):
            return sha256_regular(self.path / name)
        return None


@contextmanager
def open_output(
    out: Path, *, work: Mapping[str, Any], index: str, new: bool = False, overwrite: bool = False
) -> Iterator[OutputFolder]:
    """Begin to fill `out`, alone. `new`: it must be empty, or hold the same work, unfinished or finished.

    Raises ConfigError and WorkFolderLocked, before anything is written.
    """
    path = out.absolute()
    _checked(path, work, index, new=new, overwrite=overwrite)
    with hold_lock(path / LOCK, remove=True):
        output = _checked(path, work, index, new=new, overwrite=overwrite)
        output.begin()
        yield output


def check_output(
    out: Path, *, work: Mapping[str, Any], index: str, names: Iterable[str] = (), overwrite: bool = False
) -> None:
    """ConfigError if `open_output` would refuse the folder, or `write` a file of these names. Nothing is changed."""
    _checked(out.absolute(), work, index, new=False, overwrite=overwrite).require_ours(names)


def _checked(path: Path, work: Mapping[str, Any], index: str, *, new: bool, overwrite: bool) -> OutputFolder:
    check_place(path)
    if path.exists() and not path.is_dir():
        raise ConfigError(path, "is not a folder", "give another --out")
    output = OutputFolder(path, work, index, overwrite=overwrite)
    output.require_same_work()
    if new:
        output.require_new()
    else:
        output.require_ours([index])
    return output


def _names(path: Path) -> list[str]:
    """Names of all files in the folder, without the lock and the temporary files of killed writers."""
    files, odd = list_files(path)
    return [name for name in (*files, *odd) if name != LOCK and not Path(name).name.startswith(durable.TEMPORARY)]


def _unfinished(path: Path) -> list[dict[str, Any]]:
    with suppress(CorruptArtefact):
        return parse(read_regular(path / UNFINISHED)).rows
    return []


def _rows(path: Path, index: str) -> dict[str, set[str]]:
    """Name -> digests of the files that the index and the unfinished work name; anyone may have written both."""
    ours: dict[str, set[str]] = {}
    for row in (*_unfinished(path), *(_indexed(path / index) or ())):
        if isinstance(row.get("file"), str) and isinstance(row.get("sha256"), str):
            ours.setdefault(row["file"], set()).add(row["sha256"])
    return ours


def _indexed(file: Path) -> list[dict[str, str]] | None:
    """The rows of an index; None for a file that is none, and for no file."""
    with suppress(CorruptArtefact, *_MALFORMED):
        document = json.loads(read_regular(file))
        return [
            {key: str(row[key]) for key in ("file", "sha256")}
            for row in (*document.get("labels", ()), *document["files"])
        ]
    return None
