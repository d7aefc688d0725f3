"""Power cuts: a run is recorded; what a disk could hold after any of its effects is run to the end."""

from __future__ import annotations

import pickle
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path

from autolabel.store.hooks import Effect, Phase, observe
from tests.faults import harness, minute, small_stage
from tests.faults.disk import MODES, Disk, Op
from tests.faults.fresh import in_fresh_process
from tests.faults.tally import Tally

# How often each stage is taken; those that keep journals and checkpoints, and the store by itself, most.
WEIGHTS = {"store": 6, "label": 6, "infer": 3, "teacher": 2, "student": 1}


@in_fresh_process
def power_loss(number: int, seed: int, folder: Path) -> Tally:
    """States of the disk after a cut at a random moment, from experiments of consecutive seeds."""
    rng, bad = random.Random(seed), list[str]()
    each = -(-number // 3) if number > 100 else number  # of three experiments
    for tried in range(0, number, each):
        here = folder / str(tried)
        cuts = cases(here, seed + tried // each, rng)
        weights = [WEIGHTS.get(cut.stage, 1) for cut in cuts]
        for cut in rng.choices(cuts, weights, k=min(each, number - tried)):
            bad += cut.once(here / "run", rng)
        shutil.rmtree(here)
    return Tally("power loss", number, tuple(bad))


@dataclass(frozen=True)
class Cut:
    """Recorded runs on one folder, the last of which the power can be cut in: the others have been killed."""

    name: str
    stage: str
    target: harness.Target
    runs: tuple[list[Op], ...]
    check: Callable[[Path], None]

    def once(self, root: Path, rng: random.Random) -> list[str]:
        """One state, and what is wrong with what becomes of it."""
        mode, moment = rng.choice(MODES), rng.randint(0, len(self.runs[-1]))
        runs = [*self.runs[:-1], self.runs[-1][:moment]]
        disk = Disk(self.target.template)
        for op in chain(*runs):
            disk.apply(op)
        disk.after_power_cut(mode, rng, root)
        try:
            self.check(root)
            before = [harness.Run(None, "", 0, 0, [_described(op, root) for op in ops]) for ops in runs]
            rerun = harness.run(self.target.scenario, root)
            self.target.compare("rerun", [*before, rerun], root, unsafe="/log/")  # safe only once it is committed
        except harness.BROKEN as error:
            return [f"power loss: {self.name}, after effect {moment} of run {len(runs)}, {mode}: {error}"]
        finally:
            shutil.rmtree(root)
        return []


def cases(folder: Path, seed: int, rng: random.Random) -> list[Cut]:
    """Every step of an experiment, and the scenario of the store's own tests; each also after kills."""
    made = minute.make(folder / "minute", seed)
    found = store_cases(folder, rng)
    for node in made.nodes():
        target = made.case(node.name)
        check = minute.intact(target.template)
        found += _cuts(
            node.name, node.stage.name, target, check, made.folder, rng, num_killed=WEIGHTS.get(node.name, 1)
        )
    return found


def store_cases(
    folder: Path, rng: random.Random, wrap: Callable[[harness.Scenario], harness.Scenario] = lambda scenario: scenario
) -> list[Cut]:
    template = folder / "templates" / "store"
    template.mkdir(parents=True)
    small_stage.prepare(template)
    scenario = wrap(small_stage.scenario)
    target = harness.Target.measure(scenario, template, folder / "run", batch=small_stage.BATCH)
    return _cuts("store", "store", target, small_stage.check, folder, rng, num_killed=WEIGHTS["store"])


def _cuts(
    name: str,
    stage: str,
    target: harness.Target,
    check: Callable[[Path], None],
    folder: Path,
    rng: random.Random,
    *,
    num_killed: int,
) -> list[Cut]:
    """Effects of an undisturbed run, and of runs after a kill, which find names and bytes that are not durable."""
    record = partial(_record, target.scenario, folder)
    root = folder / "recorded"
    whole, found = record(target.template, root), list[Cut]()
    shutil.rmtree(root)
    found.append(Cut(name, stage, target, (whole,), check))
    renamed = [number for number, op in enumerate(whole, start=1) if op.kind == "rename"]  # and not durable yet
    for _ in range(num_killed):
        killed = record(target.template, root, until=rng.choice((rng.randrange(1, len(whole)), rng.choice(renamed))))
        disk = Disk(target.template)
        for op in killed:
            disk.apply(op)
        if disk.holds_what_is_in(root):  # else a thread was killed between an effect and its record
            again = record(root, root)
            found.append(Cut(f"{name}, after a kill", stage, target, (killed, again), check))
        shutil.rmtree(root)
    return found


def _record(scenario: harness.Scenario, folder: Path, template: Path, root: Path, until: int | None = None) -> list[Op]:
    """The effects of a run in a child, in order, with their bytes; killed before number `until`."""
    file = folder / "ops"
    file.unlink(missing_ok=True)
    if template != root:
        shutil.copytree(template, root)

    def recorded(root: Path) -> str:
        lock, numbers = threading.Lock(), count()

        def observer(phase: Phase, effect: Effect) -> None:
            with lock:
                if phase == "after":
                    with file.open("ab") as ops:
                        pickle.dump(_op(effect, root), ops)
                elif next(numbers) == until:
                    harness.kill("after", effect)

        with observe(observer):
            return scenario(root)

    done = harness.run(recorded, root)
    assert bool(done.digest) == (until is None), done.error
    return list(_loaded(file))


def _loaded(file: Path) -> Iterator[Op]:
    with file.open("rb") as ops:
        while ops.peek(1):
            yield pickle.load(ops)  # our own child's


def _op(effect: Effect, root: Path) -> Op:
    target = "" if effect.target is None else _below(effect.target, root)
    return Op(effect.kind, _below(effect.path, root), target, bytes(effect.data), effect.size)


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ".."


def _described(op: Op, root: Path) -> dict[str, str]:
    return {"kind": op.kind, "path": f"{root}/{op.path}", "target": f"{root}/{op.target}" if op.target else ""}
