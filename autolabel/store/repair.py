"""Repair of damaged artefacts: files whose committed bytes lie elsewhere in the work folder are restored.

A restored file has the digest that was committed, so the artefact is what it was. An artefact that stays damaged is set
aside; nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autolabel.errors import StoreError
from autolabel.store import durable
from autolabel.store.artefact import DATA, Artefact, Unreadable, find_problems
from autolabel.store.files import read_regular, sha256_bytes
from autolabel.store.gc import WorkFolderItem, scan, set_aside
from autolabel.store.record import Entry


@dataclass(frozen=True)
class Repaired:
    """The outcome for one damaged artefact."""

    item: WorkFolderItem
    problems: tuple[str, ...]  # before
    restored: tuple[str, ...]  # names of files
    aside: Path | None  # where it is now, if it stayed damaged
    unreadable: bool  # files that cannot be read now are no damage: the artefact is left as it is


class Copies:
    """Files below an artefact root by their committed digest, in damaged artefacts too. Each is checked when read."""

    def __init__(self, root: Path) -> None:
        self._places: dict[str, list[Path]] = {}
        for item in scan(root):
            with suppress(StoreError):
                artefact = Artefact.open(item.path)
                for entry in artefact.entries:
                    self._places.setdefault(entry.sha256, []).append(artefact.data / entry.name)

    def read(self, entry: Entry) -> bytes | None:
        """The bytes of a file; None if no intact copy is there."""
        for path in self._places.get(entry.sha256, ()):
            with suppress(StoreError):
                data = read_regular(path)
                if sha256_bytes(data) == entry.sha256:
                    return data
        return None


def repair(root: Path) -> Iterator[Repaired]:
    """Restore or set aside every damaged artefact below `root`. Call it under the lock. Raises StoreError."""
    copies = Copies(root)
    for item in [item for item in scan(root) if item.kind == "committed"]:
        problems = find_problems(item.path, full=True)
        if problems:
            yield _repaired(item, problems, copies)


def _repaired(item: WorkFolderItem, problems: list[str], copies: Copies) -> Repaired:
    restored = _restore(item.path, copies)
    left = find_problems(item.path, full=True)
    unreadable = any(isinstance(problem, Unreadable) for problem in left)
    damaged = any(not isinstance(problem, Unreadable) for problem in left)
    aside = set_aside(item.path) if damaged else None
    return Repaired(item, tuple(problems), tuple(restored), aside, unreadable)


def _restore(path: Path, copies: Copies) -> list[str]:
    """Write the committed bytes of damaged files, where a copy has them; returns their names."""
    try:
        artefact = Artefact.open(path)
    except StoreError:
        return []
    restored = []
    for entry in artefact.entries:
        if _is_intact(artefact, entry) or (data := copies.read(entry)) is None:
            continue
        with suppress(StoreError):  # a folder in its place, say: then the artefact is set aside
            durable.write_file(artefact.data / entry.name, data)
            restored.append(f"{DATA}/{entry.name}")
    return restored


def _is_intact(artefact: Artefact, entry: Entry) -> bool:
    try:
        return sha256_bytes(read_regular(artefact.data / entry.name)) == entry.sha256
    except StoreError:
        return False
