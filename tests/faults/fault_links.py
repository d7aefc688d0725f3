"""Links, and folders of other people, in and around a work folder: every command leaves them as they are.

A part of a finished work folder is replaced by a symbolic link to a copy elsewhere, or lies beside a folder of
somebody else: one of a telling name, one without our record, a whole other project. Nothing behind a link and nothing
that is not ours is changed or deleted, the command ends as the table of exit codes says, and with the folder as it was
before the next run finds everything up to date, and ends as it would have ended without the trap.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from click.testing import CliRunner

from tests.faults import harness, minute
from tests.faults.fault_wrong_calls import judge
from tests.faults.fresh import in_fresh_process
from tests.faults.tally import Tally

_STEPS = ("manifest", "infer", "label", "report")
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "-q"),
    "gc": ("gc",),
    "verify": ("verify", "--full"),
    "set aside": ("verify", "--full", "--set-aside"),
    "repair": ("repair",),
    "status": ("status",),
    "cut": ("cut", "-q"),
}


@dataclass(frozen=True)
class Place:
    """A trap: `kept` must not change; `undo` takes it away and puts what was replaced back."""

    kept: Path
    undo: Callable[[], None]


@in_fresh_process
def run(number: int, seed: int, folder: Path) -> Tally:
    rng, bad = random.Random(seed), list[str]()
    made = minute.make(folder / "minute", seed % 2)
    cases = [(kind, command) for kind in _KINDS for command in _COMMANDS]
    rng.shuffle(cases)
    finished = _undisturbed(made)
    for i in range(number):
        kind, command = cases[i % len(cases)]
        step = rng.choice(_STEPS)
        bad += [f"links: {command}, {kind}, {step}: {line}" for line in _try(made, kind, command, step, finished)]
    return Tally("links and foreign folders", number, tuple(bad))


End = tuple[int, str]  # exit code, stderr


def _undisturbed(made: minute.Minute) -> End:
    """How a run ends that finds everything up to date; with an unusable image it says so each time."""
    work = made.folder / "run"
    shutil.copytree(made.whole, work)
    done = harness.run(_call(made, "run", made.folder / "elsewhere"), work)
    shutil.rmtree(work)
    assert done.digest is not None, done.error
    code, _, said = json.loads(done.digest)
    assert code in (0, 5), said
    return code, said


def _try(made: minute.Minute, kind: str, command: str, step: str, finished: End) -> list[str]:
    work, elsewhere = made.folder / "run", made.folder / "elsewhere"
    shutil.copytree(made.whole, work)
    elsewhere.mkdir()
    try:
        place = _KINDS[kind](work, elsewhere, step)
        before = _contents(place.kept)
        done = harness.run(_call(made, command, elsewhere), work)
        bad = [f"raises {done.error[-300:]}, signal {done.signal}"] if done.digest is None else []
        bad += judge(*json.loads(done.digest)) if done.digest is not None else []
        if _contents(place.kept) != before:
            bad.append("what is not ours has changed")
        place.undo()
        again = harness.run(_call(made, "run", elsewhere), work)
        if again.digest is None or tuple(json.loads(again.digest)[::2]) != finished:
            bad.append(f"afterwards: {again.error[-300:] or again.digest}")
        return bad
    finally:
        shutil.rmtree(work)
        shutil.rmtree(elsewhere)


def _call(made: minute.Minute, command: str, elsewhere: Path) -> harness.Scenario:
    """Its exit code and what it says, as JSON."""
    from autolabel.cli.main import cli

    name, *options = _COMMANDS[command]

    def call(work: Path) -> str:
        arguments = [name, str(made.folder / "experiment.toml"), "--work", str(work), *options]
        if command == "cut":
            codes = next(iter((work / "artefacts" / "infer").glob("[0-9a-f]*")), work)
            arguments = [name, str(codes), "--out", str(elsewhere / "cut"), *options]
        result = CliRunner().invoke(cli, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return json.dumps([result.exit_code, result.stdout, result.stderr])

    return call


def _contents(path: Path) -> dict[str, bytes | str]:
    """Everything below, links as links."""
    found: dict[str, bytes | str] = {}
    for one in sorted([path, *path.rglob("*")]):
        name = one.relative_to(path).as_posix()
        found[name] = str(one.readlink()) if one.is_symlink() else one.read_bytes() if one.is_file() else "folder"
    return found


def _linked(path: Path, elsewhere: Path) -> Place:
    """A part of the work folder lies elsewhere, and a link stands for it."""
    kept = elsewhere / "kept"
    path.rename(kept)
    path.symlink_to(kept)

    def undo() -> None:
        _remove(path)  # the link, or what was made again after it was put aside
        if path.parent.exists():  # else the artefact around the link was put aside
            kept.rename(path)

    return Place(kept, undo)


def _beside(work: Path, name: str, lay: Callable[[Path], object]) -> Place:
    """A folder of somebody else in the work folder."""
    kept = work / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    lay(kept)

    return Place(kept, lambda: _remove(kept))


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _artefact(work: Path, step: str) -> Path:
    return next(path for path in (work / "artefacts" / step).iterdir() if path.suffix == "")


def _notes(path: Path) -> None:
    (path / "data").mkdir(parents=True)
    (path / "data" / "thesis.tex").write_text("years of work")


def _other_project(work: Path, elsewhere: Path, step: str) -> Place:
    """A link among the steps leads to an artefact of another project, whose key nothing here refers to."""
    other = elsewhere / "other" / "artefacts" / step / ("0" * 16)
    shutil.copytree(_artefact(work, step), other)
    link = work / "artefacts" / step / ("0" * 16)
    link.symlink_to(other)
    return Place(elsewhere / "other", lambda: _remove(link))


_KINDS: Mapping[str, Callable[[Path, Path, str], Place]] = {
    "a link for artefacts": lambda work, elsewhere, step: _linked(work / "artefacts", elsewhere),
    "a link for a step": lambda work, elsewhere, step: _linked(work / "artefacts" / step, elsewhere),
    "a link for an artefact": lambda work, elsewhere, step: _linked(_artefact(work, step), elsewhere),
    "a link for its data": lambda work, elsewhere, step: _linked(_artefact(work, step) / "data", elsewhere),
    "a link to another project": _other_project,
    "a folder named like a key": lambda work, elsewhere, step: _beside(work, f"artefacts/{step}/{'a' * 16}", _notes),
    "a folder named like a draft": lambda work, elsewhere, step: _beside(
        work, f"artefacts/{step}/{'b' * 16}.partial", _notes
    ),
    "a folder named like trash": lambda work, elsewhere, step: _beside(
        work, f"artefacts/{step}/.trash-{'c' * 16}", _notes
    ),
    "a folder beside the steps": lambda work, elsewhere, step: _beside(work, f"artefacts/{'d' * 16}", _notes),
    "a folder beside artefacts": lambda work, elsewhere, step: _beside(work, "notes", _notes),
    "a link in a ring": lambda work, elsewhere, step: _beside(
        work, f"artefacts/{step}/{'e' * 16}", lambda path: path.symlink_to(path.name)
    ),
}


@in_fresh_process
def trusting(number: int, seed: int, folder: Path) -> Tally:
    """The same with code that takes every folder of a telling name for its own: it must be found."""
    with mock.patch("autolabel.store.gc._has_record", return_value=True):
        return run.__wrapped__(number, seed, folder)
