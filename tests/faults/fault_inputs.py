"""Input files that change: between two runs, at any effect of one, and in the middle of one to and fro.

An image, a label, the classes or the list of files becomes another one of the same size, in place or by a rename, with
its old time put back or not. Undisturbed runs on both states of the data say which key goes with which digest. Whatever
happens, nothing is committed under another pair, no step that rests on the earlier bytes is shown as up to date, and
the same command again gives what an undisturbed run on the data as it is gives.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from click.testing import CliRunner
from PIL import Image

from autolabel.cli.options import Project, RunOptions
from autolabel.cli.running import running
from autolabel.cli.status import status
from autolabel.signals import StopFlag
from autolabel.store import INPUT_DIGESTS, Artefact, scan
from autolabel.store.hooks import Effect, Phase, observe
from tests.faults import harness, minute
from tests.faults.fresh import in_fresh_process
from tests.faults.tally import Tally

_EACH = 6  # moments at which one change is tried
_CHANGES = 10  # of one experiment
Table = Mapping[str, tuple[str, str]]  # step -> folder of its key, digest


class Change(NamedTuple):
    file: Path
    before: bytes | None  # None: it is not there
    after: bytes | None
    way: str  # of `_WAYS`

    def do(self) -> None:
        _WAYS[self.way](self.file, self.after)

    def undo(self) -> None:
        _WAYS[self.way](self.file, self.before)

    def __str__(self) -> str:
        return f"{self.file.parent.name}/{self.file.name} {self.way}"


def _in_place(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


def _renamed(file: Path, content: bytes | None) -> None:
    if content is None:
        file.rename(file.parents[1] / "gone")
    else:
        (file.parents[1] / "new").write_bytes(content)
        (file.parents[1] / "new").replace(file)


def _times_kept(file: Path, content: bytes | None) -> None:
    found = file.stat() if file.exists() else file.parent.stat()
    _in_place(file, content)
    if content is not None:
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


_WAYS: dict[str, Callable[[Path, bytes | None], None]] = {
    "in place": _in_place,
    "by a rename": _renamed,
    "with its time put back": _times_kept,
}


@in_fresh_process
def run(number: int, seed: int, folder: Path) -> Tally:
    rng, bad, tried = random.Random(seed), list[str](), 0
    experiment = 2 * seed  # even ones, in which no image may be left out
    while tried < number:
        made = minute.make(folder / str(experiment), experiment)
        before = _clean(made)
        for _ in range(_CHANGES):
            change = _choose(made.folder / "source", rng)
            change.do()
            after = _clean(made)
            change.undo()
            for _ in range(min(_EACH, number - tried)):
                bad += [f"inputs, experiment {experiment}: {line}" for line in _try(made, change, before, after, rng)]
                tried += 1
        shutil.rmtree(folder / str(experiment), ignore_errors=True)
        experiment += 2
    return Tally("changed inputs", tried, tuple(bad))


def _choose(source: Path, rng: random.Random) -> Change:
    def png(pixels: np.ndarray) -> bytes:
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG", compress_level=0)
        return sink.getvalue()

    kind, way = rng.choice(("images", "images", "masks", "coarse", "classes", "added", "removed")), rng.choice([*_WAYS])
    numbers = np.random.default_rng(rng.randrange(2**32))
    image = png(numbers.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    if kind == "classes":
        file = source / "classes.toml"
        return Change(file, file.read_bytes(), file.read_bytes().replace(b"sky", b"sea"), way)
    if kind == "added":
        return Change(source / "images" / "added.png", None, image, way)
    if kind == "removed":
        file = max((source / "images").iterdir())  # without a label
        return Change(file, file.read_bytes(), None, way)
    file = rng.choice(sorted((source / kind).iterdir()))
    mask = np.zeros((32, 32), np.uint8)
    mask[:, : rng.randrange(4, 28)] = 1
    return Change(file, file.read_bytes(), image if kind == "images" else png(mask), way)


def _scenario(made: minute.Minute, step: str | None) -> harness.Scenario:
    """Up to a step, or all; returns the table of the steps that were needed, as JSON."""
    pipeline = made.project.pipeline
    wanted = pipeline.select(step) if step else list(pipeline.nodes.values())

    def make(root: Path) -> str:
        project = Project(made.project.experiment, pipeline, root)
        with running(project, RunOptions(None, None, True, False), StopFlag()) as runner:
            done = runner.run(pipeline, wanted)
        return json.dumps({item.node.name: (item.artefact.path.name, item.artefact.digest) for item in done})

    return make


def _table(done: harness.Run) -> Table:
    assert done.digest is not None, done.error or f"signal {done.signal}"
    return {step: (key, digest) for step, (key, digest) in json.loads(done.digest).items()}


def _clean(made: minute.Minute) -> Table:
    root = made.folder / "clean"
    done = harness.run(_scenario(made, None), root)
    shutil.rmtree(root)
    return _table(done)


def _try(made: minute.Minute, change: Change, before: Table, after: Table, rng: random.Random) -> list[str]:
    """One change at one moment of one step, or of the whole pipeline; what is bad about what comes of it."""
    step = rng.choice([*before, None])
    target = made.case(step) if step else made.whole_case()
    root = made.folder / "run"
    shutil.copytree(target.template, root)
    if step:
        shutil.copy(made.whole / INPUT_DIGESTS, root)
    moment = rng.randrange(-target.num_points // 4, target.num_points)  # below 0: between two runs
    back = rng.randrange(moment + 1, target.num_points + 1) if moment >= 0 and rng.random() < 0.3 else None
    moments = {moment: change.do} | ({} if back is None else {back: change.undo})
    there = change.file.read_bytes() if change.file.exists() else None
    if moment < 0:
        change.do()
    try:
        disturbed = harness.run(_disturbed(_scenario(made, step), moments), root)
        if moment >= 0 and _content(change.file) == there and back is None:
            change.do()  # the step was over before
        if back is not None and _content(change.file) != there:
            change.undo()
        now = after if _content(change.file) != there else before
        bad = [*_bad_end(disturbed), *_wrong(root, before, after), *_stale(made, root, now)]
        again = harness.run(_scenario(made, step), root)
        if again.digest is None or any(now[name] != found for name, found in _table(again).items()):
            bad.append(f"again: {again.error or 'other digests than an undisturbed run gives'}")
    finally:
        if _content(change.file) != there:
            change.undo()
        shutil.rmtree(root)
    place = f"{change}, {step or 'all'} at {moment} of {target.num_points}" + f", back at {back}" * (back is not None)
    return [f"{place}: {line}" for line in bad]


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _disturbed(scenario: harness.Scenario, moments: Mapping[int, Callable[[], None]]) -> harness.Scenario:
    def make(root: Path) -> str:
        lock, points = threading.Lock(), itertools.count()

        def observer(phase: Phase, effect: Effect) -> None:
            with lock:
                if harness.matters_to_a_kill(phase, effect) and (act := moments.get(next(points))):
                    act()

        with observe(observer):
            return scenario(root)

    return make


def _bad_end(done: harness.Run) -> list[str]:
    """It comes to its end, or is refused in one line."""
    if done.digest is not None or done.error.startswith(("DataError", "ImageError", "StoreError", "ConfigError")):
        return []
    return [done.error[-400:] or f"signal {done.signal}"]


def _wrong(root: Path, before: Table, after: Table) -> list[str]:
    """Artefacts that rest on other bytes than their keys name."""
    right = {(step, *found) for table in (before, after) for step, found in table.items()}
    return [
        f"{found.node}/{found.path.name}: made of other inputs than its key names"
        for found in scan(root / "artefacts")
        if found.kind == "committed" and (found.node, found.path.name, Artefact.open(found.path).digest) not in right
    ]


def _stale(made: minute.Minute, root: Path, now: Table) -> list[str]:
    """Steps that are shown as up to date and are not."""
    arguments = [str(made.folder / "experiment.toml"), "--work", str(root), "--json"]

    def look(root: Path) -> str:
        result = CliRunner().invoke(status, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    shown = harness.run(look, root)
    assert shown.digest is not None, shown.error
    rows = [row for row in json.loads(shown.digest)["stages"] if row["state"] == "fresh"]
    return [
        f"{row['name']} is shown as up to date"
        for row in rows
        if (Path(row["path"]).name, row["digest"]) != now[row["name"]]
    ]


@in_fresh_process
def blind(number: int, seed: int, folder: Path) -> Tally:
    """The same with code that looks at sizes alone: it must be found."""
    with (
        mock.patch("autolabel.store.input_digests._RACY_NS", -(10**18)),
        mock.patch("autolabel.store.input_digests._stamp_of", lambda found: [found.st_size, 1, 1, 1]),
    ):
        return run.__wrapped__(number, seed, folder)
