"""SIGKILL and failing system calls at the effects of a whole minute pipeline, of its mending, and of `gc`."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from click.testing import CliRunner

from autolabel.cli.status import gc
from autolabel.store import digest_json, ensure_mark, scan, set_aside
from tests.faults import harness, minute
from tests.faults.fresh import in_fresh_process
from tests.faults.tally import Tally

Check = Callable[[Path], None]
_RARE = 16  # of the points of a whole pipeline, which are those of its steps, one is taken
Cases = list[tuple[str, harness.Target, Check]]


@in_fresh_process
def kills(number: int, seed: int, folder: Path) -> Tally:
    """One SIGKILL, after an effect or in the middle of a write, then a run to the end."""
    return _try("kills", number, seed, folder, fault=harness.kill, hits=1)


@in_fresh_process
def double_kills(number: int, seed: int, folder: Path) -> Tally:
    """A second one in the rerun."""
    return _try("double kills", number, seed, folder, fault=harness.kill, hits=2)


@in_fresh_process
def failed_effects(number: int, seed: int, folder: Path) -> Tally:
    """A system call that fails, one way or the other, in the real stages."""
    half = number // 2
    full = _try("failed effects", half, seed, folder / "full", fault=harness.fail_with(errno.ENOSPC), hits=1)
    torn = _try("failed effects", number - half, seed, folder / "torn", fault=harness.fail_with(errno.EIO), hits=1)
    return Tally("failed effects", full.tried + torn.tried, (*full.bad, *torn.bad))


def _try(name: str, number: int, seed: int, folder: Path, *, fault: harness.Fault, hits: int) -> Tally:
    """Every point of one experiment after the other; of the last one, and of doubles, a random choice.

    A double of which one did not hit does not count.
    """
    rng, tried, bad = random.Random(seed), 0, list[str]()
    experiment = seed
    while tried < number:
        here = folder / str(experiment)
        made = minute.make(here / "minute", experiment)
        cases = _cases(made, fault)
        for where, target, check, plan in _plans(rng, cases, number - tried, hits):
            try:
                tried += target.hit(here / "run", plan, check=check) == hits
            except harness.BROKEN as error:
                bad.append(f"{name}: experiment {experiment}, {where}, points {list(plan)}: {error}")
                shutil.rmtree(here / "run")
                tried += 1
        shutil.rmtree(here, ignore_errors=True)
        experiment += 1
    return Tally(name, tried, tuple(bad))


def _plans(
    rng: random.Random, cases: Cases, wanted: int, hits: int
) -> Iterator[tuple[str, harness.Target, Check, Sequence[int]]]:
    points = [
        (name, target, check, point)
        for name, target, check in cases
        for point in range(0, target.num_points, _RARE if name == "whole" else 1)
    ]
    for name, target, check, point in rng.sample(points, min(wanted, len(points))):
        yield name, target, check, (point, *(rng.randrange(target.num_points) for _ in range(hits - 1)))


def _cases(made: minute.Minute, fault: harness.Fault) -> Cases:
    """Each step of the pipeline, the whole of it, steps with something damaged to mend, and `gc`."""
    cases: Cases = []
    for node in made.nodes():
        target = made.case(node.name, fault)
        cases.append((node.name, target, minute.intact(target.template)))
    whole = made.whole_case(fault)
    cases.append(("whole", whole, minute.intact(whole.template)))
    cases += [_mending(made, damaged, target, fault) for damaged, target in (("manifest", "fuse"), ("label", "audit"))]
    return [*cases, _collecting(made)] if fault is harness.kill else cases


def _mending(made: minute.Minute, damaged: str, step: str, fault: harness.Fault) -> tuple[str, harness.Target, Check]:
    """An input's bytes have changed: it is put aside and made again before the step reads it."""
    name = f"{step} with a damaged {damaged}"
    template = made.template(step, name)
    (artefact,) = (template / "artefacts" / damaged).iterdir()
    victim = max((artefact / "data").iterdir(), key=lambda path: path.is_file())
    content = bytearray(made.whole.joinpath(victim.relative_to(template)).read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    target = made.upto(step, template, stage=damaged, fault=fault)

    def check(root: Path) -> None:
        folder = root / "artefacts" / damaged
        kept = [path / "data" / victim.name for path in folder.iterdir() if path.suffix != ".partial"]
        assert any(path.is_file() and path.read_bytes() == content for path in kept), "what was damaged is gone"

    return name, target, check


def _collecting(made: minute.Minute) -> tuple[str, harness.Target, Check]:
    """`autolabel gc` among stale and damaged artefacts, a draft of other settings, and a file of somebody else."""
    template = made.folder / "templates" / "gc"
    if not template.exists():
        _lay_gc(made, template)
    text = made.folder / "experiment.toml"

    def scenario(root: Path) -> str:
        result = CliRunner().invoke(gc, [str(text), "--work", str(root)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return digest_json([found.path.name for found in scan(root / "artefacts")])

    target = made.measured(scenario, template, batch=0, items=r"/data/", fault=harness.kill)
    return "gc", target, minute.intact(made.whole)


def _lay_gc(made: minute.Minute, template: Path) -> None:
    shutil.copytree(made.whole / "artefacts", template / "artefacts")
    ensure_mark(template)
    for node in ("audit", "fuse"):  # stale by the keys of another experiment
        (old,) = (template / "artefacts" / node).iterdir()
        shutil.copytree(old, old.with_name("0" * 16))
        shutil.copytree(old, old.with_name("1" * 16))
        set_aside(old.with_name("1" * 16))
    (template / "artefacts" / "audit" / (".trash-" + "2" * 16)).mkdir()
    (template / "artefacts" / "fuse" / ("3" * 16 + ".partial") / "data").mkdir(parents=True)
    (template / "artefacts" / "fuse" / "notes.txt").write_text("a person's")
