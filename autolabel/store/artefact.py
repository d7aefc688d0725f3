"""Committed artefacts: folders of files that are byte-exact or reported corrupt.

    <folder>/<first 16 digits of the key>/
        data/            the files, listed in the manifest
        manifest.json    sorted entries and `meta`; its sha256 is the artefact's root digest
        provenance.json  where and how it was made; outside the root digest
        log/             metrics lines; outside the root digest
        COMMIT           written last
    <folder>/<...>.partial      in the making (see `draft`); DRAFT says that it is ours
    <folder>/<...>.corrupt-N    set aside, for a person to look at

Times, inodes and owners do not matter: a touched or copied artefact is the same artefact.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any, TypeVar

from autolabel.errors import CorruptArtefact, StoreError
from autolabel.store import durable
from autolabel.store.files import read_regular, sha256_all, sha256_bytes, walk_files
from autolabel.store.os_errors import refused_link
from autolabel.store.record import Commit, Entries, Entry, check_root, decode_commit, decode_manifest

COMMIT, MANIFEST, PROVENANCE = "COMMIT", "manifest.json", "provenance.json"
DRAFT = "DRAFT"  # in a draft only: says that the store made it
DATA, LOG, JOURNAL, STATE = "data", "log", "journal", "state"

_T = TypeVar("_T")
_KEY = re.compile(r"[0-9a-f]{16,}")


class Unreadable(str):
    """A problem that is no damage: a file cannot be read now, for want of permissions, say."""

    error: StoreError

    def __new__(cls, error: StoreError) -> Unreadable:
        problem = super().__new__(cls, str(error))
        problem.error = error
        return problem


def _readable(problems: list[str]) -> list[str]:
    """The problems. StoreError if one of them is no damage."""
    for problem in problems:
        if isinstance(problem, Unreadable):
            raise problem.error
    return problems


@dataclass(frozen=True)
class Artefact:
    """A committed artefact, read-only."""

    path: Path
    commit: Commit
    entries: Entries  # sorted by name
    meta: dict[str, Any]  # facts about the files, from the stage; the same whenever they are made again

    @classmethod
    def open(cls, path: Path) -> Artefact:
        """Checks COMMIT and manifest, not the files. CorruptArtefact if either is missing or damaged."""
        commit, manifest = _records(path)
        return cls(path, commit, *decode_manifest(manifest, where=path / MANIFEST))

    @property
    def data(self) -> Path:
        return self.path / DATA

    @property
    def digest(self) -> str:
        """The root digest: it covers all bytes of `data/` and `meta`."""
        return self.commit.root

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where and how the artefact was made; empty if that file is damaged, which `verify(full=True)` reports."""
        return {} if _readable(self._provenance_problems()) else json.loads(read_regular(self.path / PROVENANCE))

    def names(self, prefix: str = "") -> list[str]:
        return [name for name in self.entries.names if name.startswith(prefix)]

    def file(self, name: str) -> Path:
        """Path of a file of the manifest. Its bytes are unchecked: `verify(full=True)` before, or use `read`."""
        return self.data / self._entry(name).name

    def read(self, name: str) -> bytes:
        """The bytes of a file of the manifest. CorruptArtefact unless they are the committed ones."""
        data = read_regular(self.file(name))
        if sha256_bytes(data) != self._entry(name).sha256:
            raise CorruptArtefact(self.data / name, "its bytes differ from what was committed")
        return data

    def log_lines(self, name: str) -> list[str]:
        """Lines of a log; none if there is no such log. A resumed stage may have written one step's line twice."""
        return log_lines(self.path / LOG / name)

    def verify(self, full: bool = False, *, jobs: int = 4) -> list[str]:
        """Every problem, one line each; an empty list means that the artefact is intact.

        Always checks COMMIT, manifest, the exact set of files and their sizes; `full` also checks all bytes, in `jobs`
        threads, and provenance.json. StoreError for a file that cannot be read now: that is no damage.
        """
        return _readable(self.problems(full, jobs=jobs))

    def problems(self, full: bool = False, *, jobs: int = 4, names: Collection[str] | None = None) -> list[str]:
        """As `verify`, but a file that cannot be read now is an `Unreadable` in the list.

        `names`: `full` checks the bytes of these files alone.
        """
        try:
            if _records(self.path)[0] != self.commit:  # the same root digest means the same entries
                return [f"{COMMIT}: now belongs to another artefact"]
        except CorruptArtefact as error:
            return [str(error)]
        except StoreError as error:
            return [Unreadable(error)]
        problems = self._file_problems(full, jobs, names)
        return sorted(problems + self._provenance_problems()) if full else problems

    def _file_problems(self, full: bool, jobs: int, names: Collection[str] | None = None) -> list[str]:
        """Problems of `data/`, sorted."""
        problems: list[str] = []
        whole = bytearray(len(self.entries))  # 1: a file of its size is there, which needs no object for each
        missing = bytearray(b"\1") * len(self.entries)
        try:
            for name, size in walk_files(self.data):
                at = self.entries.position(name)
                if size is None:
                    problems.append(f"{DATA}/{name}: neither a file nor a folder")
                elif at is None:
                    problems.append(f"{DATA}/{name}: not in the manifest")
                else:
                    missing[at], expected = 0, self.entries.sizes[at]
                    whole[at] = size == expected
                    if size != expected:
                        problems.append(f"{DATA}/{name}: {size} bytes instead of {expected}")
        except OSError as error:
            return [Unreadable(StoreError(DATA, f"cannot be listed: {error.strerror}"))]
        problems += [f"{DATA}/{name}: missing" for name in compress(self.entries.names, missing)]
        if full:
            same_size = compress(self.entries.names, whole)
            problems += self._byte_problems([name for name in same_size if names is None or name in names], jobs)
        return sorted(problems)

    def _byte_problems(self, names: Sequence[str], jobs: int) -> list[str]:
        problems: list[str] = []
        for name, digest in sha256_all(self.data, names, jobs=jobs):
            if isinstance(digest, StoreError) and not isinstance(digest, CorruptArtefact):
                problems.append(Unreadable(StoreError(f"{DATA}/{name}", f"cannot be read: {digest.what}")))
            elif isinstance(digest, CorruptArtefact):
                problems.append(f"{DATA}/{name}: {digest.what}")
            elif digest != self._entry(name).sha256:
                problems.append(f"{DATA}/{name}: its bytes differ from what was committed")
        return problems

    def _provenance_problems(self) -> list[str]:
        try:
            same = sha256_bytes(read_regular(self.path / PROVENANCE)) == self.commit.provenance
        except CorruptArtefact as error:
            return [f"{PROVENANCE}: {error.what}"]
        except StoreError as error:
            return [Unreadable(StoreError(PROVENANCE, f"cannot be read: {error.what}"))]
        return [] if same else [f"{PROVENANCE}: its bytes differ from what was committed"]

    def _entry(self, name: str) -> Entry:
        entry = self.entries.named(name)
        if entry is None:
            raise StoreError(self.path, f"has no file {name!r}", "it may come from another version; make it again")
        return entry


def _records(path: Path) -> tuple[Commit, bytes]:
    """COMMIT, and the bytes of the manifest that it names. CorruptArtefact if either is missing or damaged."""
    if path.is_symlink() or (path / DATA).is_symlink():
        raise CorruptArtefact(path, "has a symbolic link in place of a folder")
    commit = decode_commit(read_regular(path / COMMIT), where=path / COMMIT)
    manifest = read_regular(path / MANIFEST)
    check_root(manifest, commit.root, where=path / MANIFEST)
    return commit, manifest


def newest_first(artefacts: Iterable[Artefact]) -> list[Artefact]:
    """By the time at which their runs began; those that do not state it come last."""

    def age(artefact: Artefact) -> float:
        try:
            return -float(artefact.provenance.get("started", 0))
        except StoreError:  # it cannot be read now
            return 0.0

    return sorted(artefacts, key=age)


def log_lines(path: Path) -> list[str]:
    """The complete lines of a log; none if there is no such file."""
    return read_regular(path).decode("utf-8", "replace").split("\n")[:-1] if path.is_file() else []


def find_problems(path: Path, *, full: bool = False, jobs: int = 4, names: Collection[str] | None = None) -> list[str]:
    """Every problem of the folder in the place of an artefact, one line each, even if COMMIT or manifest is damaged.

    A file that cannot be read now is an `Unreadable` among them; the others are checked all the same. With a damaged
    COMMIT the files are compared with the manifest, as far as it can be read; without a manifest their expected content
    is unknown. `names`: `full` checks the bytes of these files alone.
    """
    try:
        return Artefact.open(path).problems(full, jobs=jobs, names=names)
    except StoreError as error:
        if path.is_symlink() or not path.is_dir() or (path / DATA).is_symlink():
            return [str(error)]
    commit, problems = _read_or_problem(COMMIT, lambda: decode_commit(read_regular(path / COMMIT), where=COMMIT))
    if commit is not None and full:
        problems += Artefact(path, commit, Entries(), {})._provenance_problems()
    manifest, unreadable = _read_or_problem(MANIFEST, lambda: read_regular(path / MANIFEST))
    problems += unreadable
    if manifest is None:
        return problems
    decoded, damaged = _read_or_problem(MANIFEST, lambda: _decoded(manifest, commit))
    problems += damaged
    if decoded is not None:
        problems += Artefact(path, commit or Commit("", "", ""), *decoded)._file_problems(full, jobs, names)
    return problems


def _decoded(manifest: bytes, commit: Commit | None) -> tuple[Entries, dict[str, Any]]:
    if commit is not None:
        check_root(manifest, commit.root, where=MANIFEST)
    return decode_manifest(manifest, where=MANIFEST)


def _read_or_problem(name: str, read: Callable[[], _T]) -> tuple[_T | None, list[str]]:
    try:
        return read(), []
    except CorruptArtefact as error:
        return None, [f"{name}: {error.what}"]
    except StoreError as error:
        return None, [Unreadable(StoreError(name, f"cannot be read: {error.what}"))]


def final_path(folder: Path, key: str) -> Path:
    assert _KEY.fullmatch(key), f"not a key: {key!r}"
    return folder / key[:16]


def partial_path(folder: Path, key: str) -> Path:
    return final_path(folder, key).with_suffix(".partial")


def find(folder: Path, key: str) -> Artefact | None:
    """The committed artefact of a key, or None; changes nothing, needs no lock.

    Checks COMMIT and manifest only. CorruptArtefact if the folder in its place fails the check: set it aside.
    """
    for place in (folder.parent, folder):
        if place.is_symlink():
            raise refused_link(place)
    path = final_path(folder, key)
    if not os.path.lexists(path):
        return None
    return _opened(path, key)


def recover(folder: Path, key: str) -> Artefact | None:
    """Like `find`, for the process that holds the lock and is about to work: completes an interrupted commit.

    A draft with a valid COMMIT is whole, but its journal may be gone already; it must not be continued.
    """
    artefact = find(folder, key)
    partial = partial_path(folder, key)
    if artefact is not None or not os.path.lexists(partial / COMMIT):
        return artefact
    try:
        whole = not _opened(partial, key).verify()
    except CorruptArtefact:
        whole = False
    if whole:
        durable.sync_folder(partial)  # the process that wrote COMMIT may have been killed before it was durable
        return publish(folder, key)
    durable.remove_file(partial / COMMIT)
    durable.sync_folder(partial)
    return None


def publish(folder: Path, key: str) -> Artefact:
    """Makes a draft with a COMMIT the artefact of its key: only now may its journal and state be removed."""
    partial, final = partial_path(folder, key), final_path(folder, key)
    for name in (JOURNAL, STATE):
        durable.remove_tree(partial / name)
    if os.path.lexists(partial / DRAFT):
        durable.remove_file(partial / DRAFT)
    durable.sync_folder(partial)
    durable.publish(partial, final)
    return Artefact.open(final)


def _opened(path: Path, key: str) -> Artefact:
    artefact = Artefact.open(path)
    if artefact.commit.key != key:
        raise CorruptArtefact(path, f"belongs to the key {artefact.commit.key[:16]}", "it was renamed by hand")
    return artefact
