"""Lists and deletes the contents of an artefact root. The caller decides what to delete: only it knows references."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autolabel.errors import StoreError
from autolabel.store import durable
from autolabel.store.files import bytes_in, list_files
from autolabel.store.os_errors import refused_link

Kind = Literal["committed", "draft", "corrupt", "trash"]

_KINDS: dict[Kind, re.Pattern[str]] = {
    "committed": re.compile(r"([0-9a-f]{16})"),
    "draft": re.compile(r"([0-9a-f]{16})\.partial"),
    "corrupt": re.compile(r"([0-9a-f]{16})\.corrupt-\d+"),
    "trash": re.compile(r"\.trash-([0-9a-f]{16})"),
}
# The records at the top of an artefact or a draft. `durable.remove_tree` removes them last.
_RECORDS = ("COMMIT", "manifest.json", "provenance.json", "DRAFT")


@dataclass(frozen=True)
class WorkFolderItem:
    """One folder of an artefact root. "trash" is left by a killed `delete` and may always be deleted."""

    path: Path
    node: str
    key: str  # the first 16 digits; a random number for trash
    kind: Kind

    def num_bytes(self) -> int:
        return bytes_in(self.path)


def scan(root: Path) -> list[WorkFolderItem]:
    """Every artefact, draft, corrupt artefact and trash folder in `<root>/<node>/`, sorted; their bytes are unchecked.

    Folders and files with other names or without our record are not ours and are left out; so is everything behind a
    symbolic link. StoreError if `root` itself is one.
    """
    if root.is_symlink():
        raise refused_link(root)
    if not root.is_dir():
        return []
    nodes = sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())
    return [item for node in nodes for path in sorted(node.iterdir()) if (item := _classify(node.name, path))]


def _classify(node: str, path: Path) -> WorkFolderItem | None:
    if path.is_symlink() or not path.is_dir() or not _has_record(path):
        return None
    for kind, pattern in _KINDS.items():
        if match := pattern.fullmatch(path.name):
            return WorkFolderItem(path, node, match[1], kind)
    return None


def _has_record(path: Path) -> bool:
    """Whether the store made this folder: it holds one of our records, or no file at all (made or deleted half)."""
    if any((path / name).is_file() for name in _RECORDS):
        return True
    files, odd = list_files(path)
    return not files and not odd


def delete(path: Path) -> None:
    """Deletes a folder that `scan` lists. Renames it first: a kill in between leaves trash, never half an artefact."""
    item = None if path.parent.is_symlink() else _classify(path.parent.name, path)
    if item is None:
        raise StoreError(path, "is not an artefact", "name a folder that the store made")
    if item.kind != "trash":
        path = _renamed(path, path.with_name(f".trash-{secrets.token_hex(8)}"))
    else:
        durable.sync_folder(path.parent)  # the process that renamed it may have been killed before that was durable
    durable.remove_tree(path)
    durable.sync_folder(path.parent)


def set_aside(path: Path) -> Path:
    """Renames a damaged artefact or draft to `<key>.corrupt-N`, so that it can be made again. Returns the new path."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name[:16]}.corrupt-{number}")):
        number += 1
    return _renamed(path, aside)


def _renamed(path: Path, target: Path) -> Path:
    durable.publish(path, target)
    return target
