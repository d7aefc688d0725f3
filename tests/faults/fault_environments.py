"""A step is killed and goes on with other versions, another device, other threads or processes.

Either its result does not depend on the change and is equal, or the step asks, in one line and without a change to the
folder. Then it is run as before, started over, or mixed on request. Whatever is committed states the environments of
all its files, and is the work of one environment unless one of these two is the case.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from autolabel.cli.options import Project, RunOptions
from autolabel.cli.running import running
from autolabel.flow import environment, runner
from autolabel.signals import StopFlag
from autolabel.store import Artefact
from autolabel.store.durable import TEMPORARY
from tests.faults import harness, minute
from tests.faults.fault_wrong_calls import snapshot
from tests.faults.fresh import in_fresh_process
from tests.faults.tally import Tally

# The documentation names the fields on which the bytes of a step may depend.
_DEPENDS = {"teacher": {"versions", "device", "threads", "processes"}, "infer": {"versions", "device"}}
_DEPENDS["student"] = _DEPENDS["teacher"]
_STEPS = ("teacher", "infer", "label", "student", "teacher", "infer", "label", "audit", "fuse", "manifest")
_REMEDIES = ("--restart-other-environment", "--allow-other-environment")
Change = Mapping[str, Any]


@in_fresh_process
def run(number: int, seed: int, folder: Path) -> Tally:
    rng, bad = random.Random(seed), list[str]()
    made = minute.make(folder / "minute", seed)
    for i in range(number):
        step, change = _STEPS[i % len(_STEPS)], _change(rng)
        target = made.case(step)
        point = rng.randrange(target.num_points // 5, target.num_points)
        root = made.folder / "run"
        shutil.copytree(target.template, root)
        killed = harness.run(target.scenario, root, at=point)
        lines = _go_on(made, step, change, root, killed, rng.choice(("as before", *_REMEDIES)))
        bad += [f"environments: {step} killed at {point}, {change}: {line}" for line in lines]
        shutil.rmtree(root)
    return Tally("environments", number, tuple(bad))


def _change(rng: random.Random) -> Change:
    return rng.choice(
        (
            {"versions": {rng.choice(("numpy", "torch", "pillow", "h5py", "zlib")): "0.1"}},
            {"versions": {"autolabel": "0.1"}},
            {"device": "another processor"},
            {"threads": 2},
            {"processes": 2},
        )
    )


def _changed(made: minute.Minute, step: str, change: Change, *flags: str) -> harness.Scenario:
    """The step in another environment; threads are really others, the rest is only stated."""
    real = environment.environment_of
    experiment = made.project.experiment
    runtime = experiment.runtime.model_copy(update={"threads": change.get("threads", experiment.runtime.threads)})
    project = replace(made.project, experiment=experiment.model_copy(update={"runtime": runtime}))
    how = RunOptions(None, None, True, False, *(flag in flags for flag in reversed(_REMEDIES)))

    def stated(*args: Any) -> dict[str, Any]:
        found = real(*args)
        merged = {key: found[key] | value if key == "versions" else value for key, value in change.items()}
        return found | {key: value for key, value in merged.items() if key in found}

    def make(root: Path) -> str:
        wanted = project.pipeline.select(step)
        with (
            mock.patch.object(runner, "environment_of", stated),
            running(Project(project.experiment, project.pipeline, root), how, StopFlag()) as one,
        ):
            done = one.run(project.pipeline, wanted)
        return json.dumps([item.artefact.digest for item in done])

    return make


def _go_on(
    made: minute.Minute,
    step: str,
    change: Change,
    root: Path,
    killed: harness.Run,
    remedy: str,
) -> list[str]:
    matters = bool(change.keys() & _DEPENDS.get(step, {"versions"}))
    before = _files(root)
    then = harness.run(_changed(made, step, change), root)
    if then.digest is not None:
        return _judge(made, root, step, [killed], [then], change, mixed=not matters)
    bad = []
    if not then.error.startswith("ConfigError") or not all(flag in then.error for flag in _REMEDIES):
        bad.append(f"ends with {then.error[-300:] or then.signal}")
    if not matters:
        bad.append("asked, though the result does not depend on it")
    after = _files(root)
    if changed := sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
        bad.append(f"asked, and changed {changed[:3]}")
    flags = () if remedy == "as before" else (remedy,)
    again = harness.run(_changed(made, step, {} if remedy == "as before" else change, *flags), root)
    if again.digest is None:
        return [*bad, f"{remedy}: {again.error[-300:]}"]
    runs = ([killed, again], []) if remedy == "as before" else ([killed], [again])
    # Started over, nothing of the first run is left.
    first = [] if remedy == _REMEDIES[0] else runs[0]
    return bad + _judge(made, root, step, first, runs[1], change, mixed=remedy == _REMEDIES[1])


def _files(root: Path) -> dict[str, Any]:
    """Size and time of the files below `artefacts`, but for logs; what a killed write has left may be removed."""
    return {
        name: about
        for name, about in snapshot(root).items()
        if name.startswith("artefacts/") and about[1:] and "/log/" not in name
        if not Path(name).name.startswith(TEMPORARY)
    }


def _judge(
    made: minute.Minute,
    root: Path,
    step: str,
    here: Sequence[harness.Run],
    elsewhere: Sequence[harness.Run],
    change: Change,
    *,
    mixed: bool,
) -> list[str]:
    """`here` and `elsewhere`: the runs in each environment; `mixed`: both may have a part in the result."""
    artefact = _artefact(root, step)
    names = {*artefact.names()}
    later = names & _written(elsewhere)
    by = {where for where, some in (("here", names - later), ("elsewhere", later)) if some}
    environments = artefact.provenance["environments"]
    if not any(change.keys() & one.keys() for one in environments):  # nothing that this step records
        by = {"here"}
    stated = ["elsewhere" if _is_changed(one, change) else "here" for one in environments]
    bad = [f"damaged: {line}" for line in artefact.verify(full=True)]
    if not by <= {*stated}:
        bad.append(f"files of {sorted(by)}, stated {stated}")
    if not mixed and (len({*stated}) > 1 or (later and any(map(_is_started, here)))):
        bad.append(f"mixed without a word, stated {stated}")
    other_sums = "threads" in change and step in ("teacher", "student") and "elsewhere" in stated
    if not other_sums and artefact.digest != _artefact(made.whole, step).digest:
        bad.append("another digest")
    return bad


def _artefact(work: Path, step: str) -> Artefact:
    return next(Artefact.open(path) for path in (work / "artefacts" / step).iterdir() if path.suffix == "")


def _written(runs: Sequence[harness.Run]) -> set[str]:
    """Names below `data/` that these runs put in place."""
    targets = [effect["target"] for one in runs for effect in one.effects if effect["kind"] == "rename"]
    return {target.partition(".partial/data/")[2] for target in targets if ".partial/data/" in target}


def _is_started(killed: harness.Run) -> bool:
    """Whether it left finished items or a checkpoint."""
    places = [effect["target"] or effect["path"] for effect in killed.effects if effect["kind"] in ("rename", "append")]
    return any("/journal/" in place or "/state/" in place for place in places)


def _is_changed(stated: Mapping[str, Any], change: Change) -> bool:
    """Whether a stated environment is the other one; a change of a field that the step does not state is none."""
    return any(
        all(stated["versions"].get(name) == one for name, one in value.items()) if key == "versions"
        else stated.get(key) == value
        for key, value in change.items()
    )  # fmt: skip


@in_fresh_process
def careless(number: int, seed: int, folder: Path) -> Tally:
    """The same with code that never asks: it must be found."""
    with mock.patch.object(runner, "require_same"):
        return run.__wrapped__(number, seed, folder)
