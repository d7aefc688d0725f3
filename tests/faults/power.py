"""Power cuts: a run is recorded; what a disk could hold after any of its effects is run to the end."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import harness
import minute
import test_kill_store
from disk import MODES, Disk, Mode, Op
from fresh import in_fresh_process
from tally import Tally

from autolabel.store.effects import Effect, Phase, observe

# How often each stage is taken; those that keep journals and checkpoints, and the store by itself, most.
WEIGHTS = {"store": 6, "label": 6, "infer": 3, "teacher": 2, "student": 1}


@in_fresh_process
def power_loss(number: int, seed: int, folder: Path) -> Tally:
    """States of the disk after a cut at a random moment, from experiments of consecutive seeds."""
    rng, bad = random.Random(seed), list[str]()
    each = -(-number // 3) if number > 100 else number  # of three experiments
    for tried in range(0, number, each):
        here = folder / str(tried)
        cuts = cases(here, seed + tried // each)
        weights = [WEIGHTS.get(cut.stage, 1) for cut in cuts]
        for cut in rng.choices(cuts, weights, k=min(each, number - tried)):
            bad += cut.once(here / "run", rng)
        shutil.rmtree(here)
    return Tally("power loss", number, tuple(bad))


@dataclass(frozen=True)
class Cut:
    """A recorded run that the power can be cut in."""

    name: str
    stage: str
    target: harness.Target
    ops: list[Op]
    check: Callable[[Path], None]

    def once(self, root: Path, rng: random.Random, mode: Mode | None = None) -> list[str]:
        """One state, and what is wrong with what becomes of it."""
        mode, moment = mode or rng.choice(MODES), rng.randint(0, len(self.ops))
        disk = Disk(self.target.template)
        for op in self.ops[:moment]:
            disk.apply(op)
        disk.after_power_cut(mode, rng, root)
        try:
            self.check(root)
            before = harness.Run(None, "", 0, 0, [_described(op, root) for op in self.ops[:moment]])
            rerun = harness.run(self.target.scenario, root)
            self.target.compare("rerun", [before, rerun], root, unsafe="/log/")  # safe only once it is committed
        except harness.BROKEN as error:
            return [f"power loss: {self.name}, after effect {moment}, {mode}: {error}"]
        finally:
            shutil.rmtree(root)
        return []


def cases(folder: Path, seed: int) -> list[Cut]:
    """Every step of an experiment, and the scenario of the store's own tests."""
    made = minute.make(folder / "minute", seed)
    found = [store_case(folder)]
    for node in made.nodes():
        target = made.case(node.name)
        found.append(cut(node.name, node.stage.name, target, minute.intact(target.template), made.folder))
    return found


def store_case(folder: Path, wrap: Callable[[harness.Scenario], harness.Scenario] = lambda scenario: scenario) -> Cut:
    template = folder / "templates" / "store"
    template.mkdir(parents=True)
    test_kill_store.prepare(template)
    scenario = wrap(test_kill_store.scenario)
    target = harness.Target.measure(scenario, template, folder / "run", batch=test_kill_store.BATCH)
    return cut("store", "store", target, test_kill_store.check, folder)


def cut(name: str, stage: str, target: harness.Target, check: Callable[[Path], None], folder: Path) -> Cut:
    return Cut(name, stage, target, record(target.scenario, target.template, folder), check)


def record(scenario: harness.Scenario, template: Path, folder: Path) -> list[Op]:
    """The effects of an undisturbed run in a child, in order, with their bytes."""
    root, file = folder / "recorded", folder / "ops"
    shutil.copytree(template, root)

    def recorded(root: Path) -> str:
        ops: list[Op] = []

        def observer(phase: Phase, effect: Effect) -> None:
            if phase == "after":
                ops.append(_op(effect, root))

        with observe(observer):
            digest = scenario(root)
        file.write_bytes(pickle.dumps(ops))
        return digest

    done = harness.run(recorded, root)
    assert done.digest, done.error
    shutil.rmtree(root)
    ops: list[Op] = pickle.loads(file.read_bytes())  # our own child's
    return ops


def _op(effect: Effect, root: Path) -> Op:
    target = "" if effect.target is None else _below(effect.target, root)
    return Op(effect.kind, _below(effect.path, root), target, bytes(effect.data), effect.size)


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ".."


def _described(op: Op, root: Path) -> dict[str, str]:
    return {"kind": op.kind, "path": f"{root}/{op.path}", "target": f"{root}/{op.target}" if op.target else ""}
