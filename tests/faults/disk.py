"""A disk that remembers what is durable, and what it could hold after a power cut.

POSIX promises little: bytes are safe after fsync of their file, names after fsync of their folder. What has not been
synced may be there, in part, or not at all, and names and bytes know nothing of each other.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

Mode = Literal["strict", "names only", "in order", "any order"]
MODES: tuple[Mode, ...] = ("strict", "names only", "in order", "any order")
_SECTOR = 32  # bytes; far below 512, so that small files are torn too


@dataclass(frozen=True)
class Op:
    """An effect that was done; paths are relative to the work folder."""

    kind: str
    path: str
    target: str
    data: bytes
    size: int


@dataclass
class File:
    content: bytes = b""
    synced: bytes = b""


@dataclass
class Folder:
    entries: dict[str, File | Folder] = field(default_factory=dict)
    synced: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[tuple[int, dict[str, File | Folder | None]]] = field(default_factory=list)  # when, name -> what


class Disk:
    """Begins with a folder's content, all of it durable."""

    def __init__(self, template: Path) -> None:
        self.root = _load(template)
        self._time = 0

    def apply(self, op: Op) -> None:
        self._time += 1
        path, node = PurePosixPath(op.path), self._find(PurePosixPath(op.path))
        if op.kind == "create":
            if node is None:
                self._change(path.parent, {path.name: File()})
        elif op.kind == "mkdir":
            self._change(path.parent, {path.name: Folder()})
        elif op.kind in ("unlink", "rmdir"):
            self._change(path.parent, {path.name: None})
        elif op.kind == "rename":
            assert path.parent == PurePosixPath(op.target).parent, "names move within a folder"
            assert node is not None, op
            self._change(path.parent, {path.name: None, PurePosixPath(op.target).name: node})
        elif op.kind == "fsync_folder":
            if isinstance(node, Folder):  # else it lies outside
                node.synced, node.pending = dict(node.entries), []
        else:
            assert isinstance(node, File), op
            _change_content(node, op)

    def after_power_cut(self, mode: Mode, rng: random.Random, target: Path) -> None:
        """Writes one of the states that this disk may be in into a new folder."""
        since = rng.randint(0, self._time) if mode == "in order" else 0
        _store(self.root, target, mode, rng, since)

    def holds_what_is_in(self, path: Path) -> bool:
        """Whether this is the disk that a folder is on, as its processes see it."""
        return _same(self.root, path)

    def _find(self, path: PurePosixPath) -> File | Folder | None:
        node: File | Folder | None = self.root
        for part in path.parts:
            if part == ".." or not isinstance(node, Folder):
                return None
            node = node.entries.get(part)
        return node

    def _change(self, folder: PurePosixPath, names: dict[str, File | Folder | None]) -> None:
        parent = self._find(folder)
        assert isinstance(parent, Folder), folder
        parent.pending.append((self._time, names))
        _rename(parent.entries, names)


def _change_content(file: File, op: Op) -> None:
    if op.kind in ("write", "append"):
        file.content += op.data
    elif op.kind == "truncate":
        file.content = file.content[: op.size]
    elif op.kind == "fsync":
        file.synced = file.content
    else:
        raise AssertionError(op.kind)


def _rename(entries: dict[str, File | Folder], names: dict[str, File | Folder | None]) -> None:
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def _load(path: Path) -> Folder:
    entries: dict[str, File | Folder] = {}
    for entry in sorted(path.iterdir()):
        entries[entry.name] = _load(entry) if entry.is_dir() else _durable(entry.read_bytes())
    return Folder(entries, dict(entries))


def _durable(content: bytes) -> File:
    return File(content, content)


def _store(folder: Folder, target: Path, mode: Mode, rng: random.Random, cut: int) -> None:
    target.mkdir()
    for name, node in _names(folder, mode, rng, cut).items():
        if isinstance(node, Folder):
            _store(node, target / name, mode, rng, cut)
        else:
            (target / name).write_bytes(_content(node, mode, rng))


def _names(folder: Folder, mode: Mode, rng: random.Random, cut: int) -> dict[str, File | Folder]:
    names = dict(folder.synced)
    for when, change in folder.pending:
        if mode == "names only" or (mode == "in order" and when <= cut) or (mode == "any order" and rng.random() < 0.5):
            _rename(names, change)
    return names


def _content(file: File, mode: Mode, rng: random.Random) -> bytes:
    if mode == "strict" or file.content == file.synced:
        return file.synced
    return rng.choice((_lost, _zeros, _cut_short, _torn, _whole))(file, rng)


def _lost(file: File, rng: random.Random) -> bytes:
    return file.synced


def _whole(file: File, rng: random.Random) -> bytes:
    return file.content


def _zeros(file: File, rng: random.Random) -> bytes:
    """The new length, without the new bytes."""
    same = _common(file)
    return file.content[:same] + bytes(len(file.content) - same)


def _cut_short(file: File, rng: random.Random) -> bytes:
    return file.content[: rng.randint(min(_common(file), len(file.content)), len(file.content))]


def _torn(file: File, rng: random.Random) -> bytes:
    """Some of the new sectors."""
    same = _common(file)
    new = file.content[same:]
    sectors: Sequence[bytes] = [new[i : i + _SECTOR] for i in range(0, len(new), _SECTOR)]
    return file.content[:same] + _joined(rng.choice((sector, bytes(len(sector)))) for sector in sectors)


def _same(folder: Folder, path: Path) -> bool:
    if {entry.name for entry in path.iterdir()} != folder.entries.keys():
        return False
    return all(
        _same(node, path / name) if isinstance(node, Folder) else (path / name).read_bytes() == node.content
        for name, node in folder.entries.items()
    )


def _joined(parts: Iterable[bytes]) -> bytes:
    return b"".join(parts)


def _common(file: File) -> int:
    """Bytes at the start that are durable: nothing here is overwritten, only appended to, cut or new."""
    same = file.content.startswith(file.synced)
    return len(file.synced) if same else len(file.content)
