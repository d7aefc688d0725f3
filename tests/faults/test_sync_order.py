"""kill -9 cannot see a missing fsync, so this reads the order of effects: what others rely on is durable before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.harness import Run, run
from tests.faults.small_stage import prepare, scenario


class Pending:
    """The effects that a power cut could still undo: bytes not yet fsynced, names not yet synced in their folder."""

    def __init__(self) -> None:
        self.bytes: set[Path] = set()
        self.names: set[Path] = set()

    def below(self, folder: Path) -> set[Path]:
        return {path for path in self.bytes | self.names if path.is_relative_to(folder)}

    def apply(self, kind: str, path: Path, target: Path) -> None:
        if kind in ("write", "append", "truncate"):
            self.bytes.add(path)
        elif kind == "fsync":
            self.bytes.discard(path)
        elif kind == "fsync_folder":
            self.names = {name for name in self.names if name.parent != path}
        elif kind == "rename":
            self.names -= {path}
            self.names |= {target}
        else:
            gone = kind in ("unlink", "rmdir")
            self.bytes -= {path} if gone else set()
            self.names = {name for name in self.names if not (gone and name.is_relative_to(path))} | {path}


def problems(effects: list[dict[str, str]], root: Path) -> list[str]:
    """Each place where something is relied on that is not durable yet."""
    pending, found = Pending(), []
    for effect in effects:
        kind, path, target = effect["kind"], Path(effect["path"]), Path(effect["target"])
        if path.parent == root and path.name == ".lock":
            continue
        relied_on: set[Path] = set()
        if kind == "rename":
            relied_on = pending.bytes & {path} | pending.below(path) - {path}  # a name stands for its content
        if path.parent.name == "journal" and kind == "append":
            # a row stands for its files, and follows rows that are safe
            relied_on = pending.below(path.parents[1] / "data") | pending.below(path)
        if target.name == "COMMIT":
            relied_on = pending.below(target.parent) - pending.names & {path}  # COMMIT stands for all
            relied_on -= {path}
        if kind in ("create", "mkdir"):
            relied_on = pending.names & set(path.parents)  # a file stands in a folder
            relied_on |= pending.below(path.parent) if path.parent.name == "state" else set()  # one state replaces one
        found += [f"{kind} {path.relative_to(root)} -> {target.name}: {at.relative_to(root)}" for at in relied_on]
        pending.apply(kind, path, target)
    return found + [f"at the end: {path.relative_to(root)}" for path in pending.below(root)]


@pytest.fixture
def effects(ram: Path) -> Run:
    root = ram / "work"
    root.mkdir()
    prepare(root)
    done = run(scenario, root)
    assert done.digest
    return done


def test_everything_is_durable_before_it_is_relied_on(effects: Run, ram: Path) -> None:
    assert problems(effects.effects, ram / "work") == []


@pytest.mark.parametrize("name", ["data/auto/4.png", "journal/items", "COMMIT", "state/step", "log/metrics.jsonl"])
def test_a_missing_file_fsync_shows(effects: Run, ram: Path, name: str) -> None:
    temporary = {e["path"] for e in effects.effects if e["kind"] == "rename" and e["target"].endswith(name)}
    mutant = [
        e for e in effects.effects
        if e["kind"] != "fsync" or not (e["path"] in temporary or e["path"].endswith(name))
    ]  # fmt: skip
    assert len(mutant) < len(effects.effects)
    assert problems(mutant, ram / "work")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data/auto", "journal", "state", "log", ".partial", "artefacts/codes"])
def test_a_missing_folder_fsync_shows(effects: Run, ram: Path, name: str) -> None:
    mutant = [e for e in effects.effects if e["kind"] != "fsync_folder" or not e["path"].endswith(name)]
    assert len(mutant) < len(effects.effects)
    assert problems(mutant, ram / "work")
