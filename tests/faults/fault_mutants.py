"""The durable code broken on purpose, one way at a time: power cuts, kills or flipped bits must show each of them."""

from __future__ import annotations

import os
import random
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

from autolabel.store import Artefact, artefact, draft, durable, journal
from autolabel.store.files import Bytes
from autolabel.store.hooks import effect
from tests.faults import fault_flips, fault_power, harness, minute, small_stage
from tests.faults.fresh import in_fresh_process
from tests.faults.tally import Tally

Patches = list[tuple[object, str, Any]]
_TRIES = 400  # of each kind: a flip seldom hits a journal among all files of a draft

_fsync, _fsync_folder, _commit = durable._fsync, durable._fsync_folder, draft.Draft.commit


def _fsync_but(journals: bool) -> Callable[[int, Path], None]:
    def fsync(fd: int, path: Path) -> None:
        if (path.parent.name == artefact.JOURNAL) != journals:
            _fsync(fd, path)

    return fsync


def _in_place(path: Path, chunks: Iterable[Bytes]) -> None:
    with effect("create", path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        with effect("truncate", path):
            os.ftruncate(fd, 0)
        for chunk in chunks:
            with effect("write", path, data=chunk):
                durable._write_all(fd, chunk)
        _fsync(fd, path)
    finally:
        os.close(fd)


def _without_crc(lines: Iterable[bytes], crc: int = 0) -> Iterator[journal._Line]:
    for line in lines:
        row = journal._row(line[9:-1])
        if row is not None and line.endswith(b"\n"):
            crc = zlib.crc32(line[9:-1], crc)
            yield journal._Line(row, len(line), crc)


def _journal_first(self: draft.Draft, **options: Any) -> Artefact:
    durable.remove_tree(self.path / artefact.JOURNAL)
    durable.sync_folder(self.path)
    return _commit(self, **options)


def _commit_unsynced(self: draft.Draft, **options: Any) -> Artefact:
    with patch.object(durable, "_fsync", _nothing):
        return _commit(self, **options)


def _nothing(*arguments: object) -> None:
    """In place of an fsync."""


def _no_byte_problems(self: Artefact, *arguments: object) -> list[str]:
    return []


def _recover_as_find(folder: Path, key: str) -> Artefact | None:
    return artefact.find(folder, key)


# The kind of fault that shows each mutant; the first five are those that the suite has always to catch.
MUTANTS: dict[str, tuple[str, Patches]] = {
    "no fsync of files": ("power cut", [(durable, "_fsync", _fsync_but(journals=False))]),
    "no fsync of folders": ("power cut", [(durable, "_fsync_folder", _nothing)]),
    "no fsync of journals": ("power cut", [(durable, "_fsync", _fsync_but(journals=True))]),
    "no rename": ("kill", [(durable, "_put", _in_place)]),
    "no CRC in journals": ("flip", [(journal, "_good_lines", _without_crc)]),
    "COMMIT and manifest not synced": ("power cut", [(draft.Draft, "commit", _commit_unsynced)]),
    "journal removed before COMMIT": ("power cut", [(draft.Draft, "commit", _journal_first)]),
    "bytes not hashed": ("flip", [(Artefact, "_byte_problems", _no_byte_problems)]),
    "commits cut short not completed": ("power cut", [(small_stage, "recover", _recover_as_find)]),
}


@in_fresh_process
def mutants(number: int, seed: int, folder: Path) -> Tally:
    """The first `number` of them, each tried until something shows it; from the start again with another seed."""
    made, missed = minute.make(folder / "minute", seed), []
    for i in range(number):
        name, turn = list(MUTANTS)[i % len(MUTANTS)], i // len(MUTANTS)
        shown_by, patches = MUTANTS[name]
        if not caught(patches, seed + turn, folder / f"{name} {turn}", made, (shown_by,)):
            missed.append(f"mutants: {name} was not caught, seed {seed + turn}")
    return Tally("mutants", number, tuple(missed))


@in_fresh_process
def control(number: int, seed: int, folder: Path) -> Tally:
    """The code as it is, tried as a mutant is: `number` faults of each kind must show nothing."""
    made = minute.make(folder / "minute", seed)
    found = caught([], seed, folder / "control", made, ("power cut", "kill", "flip"), tries=number)
    return Tally("control", 1, (found,) if found else ())


def caught(
    patches: Patches, seed: int, folder: Path, made: minute.Minute, faults: Sequence[str], tries: int = _TRIES
) -> str:
    """The first bad outcome, or nothing."""
    tests = {"power cut": _by_power_cut, "kill": _by_kill, "flip": _by_flip}
    rng = random.Random(seed)
    for fault in faults:
        shown = filter(None, islice(tests[fault](patches, rng, folder / fault, made), tries))
        if found := next(shown, ""):
            return found
    return ""


def _by_power_cut(patches: Patches, rng: random.Random, folder: Path, made: minute.Minute) -> Iterator[str]:
    try:
        cases = fault_power.store_cases(folder, rng, partial(_mutated, patches))
    except AssertionError as error:  # of a run that goes on after a kill
        yield str(error)
        return
    while True:
        yield "".join(rng.choice(cases).once(folder / "run", rng))


def _by_kill(patches: Patches, rng: random.Random, folder: Path, made: minute.Minute) -> Iterator[str]:
    template = folder / "template"
    template.mkdir(parents=True)
    small_stage.prepare(template)
    scenario = _mutated(patches, small_stage.scenario)
    target = harness.Target.measure(scenario, template, folder / "run", batch=small_stage.BATCH)
    for point in rng.sample(range(target.num_points), target.num_points):
        try:
            target.hit(folder / "run", (point,), check=small_stage.check)
            yield ""
        except harness.BROKEN as error:
            shutil.rmtree(folder / "run")
            yield str(error)


def _by_flip(patches: Patches, rng: random.Random, folder: Path, made: minute.Minute) -> Iterator[str]:
    """In the pipeline's own artefacts and drafts."""
    with _patched(patches):
        while True:
            yield "".join(fault_flips.in_artefact(made, rng) or fault_flips.in_draft(made, "label", rng))


def _mutated(patches: Patches, scenario: harness.Scenario) -> harness.Scenario:
    def broken(root: Path) -> str:
        with _patched(patches):
            return scenario(root)

    return broken


@contextmanager
def _patched(patches: Patches) -> Iterator[None]:
    with ExitStack() as stack:
        for place, name, replacement in patches:
            stack.enter_context(patch.object(place, name, replacement))
        yield
