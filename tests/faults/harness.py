"""Runs a scenario again and again, hit by a fault at each effect on the disk in turn, and once more to the end.

A scenario is a function of a work folder that does all its disk work through `autolabel.store` and returns a digest of
its result. It must be able to run again after any interruption: that is what is tested. Each run is a forked child, so
a scenario may use what the parent has imported, but the parent must not have started threads that the child needs
(no torch parallel regions before a fork).

After each fault and rerun the harness demands
- the digest of an undisturbed run (P2),
- the same names in the work folder: nothing left over, nothing missing (P2),
- that at most `batch` finished files of any `data/` were written again for each fault (P3),
- whatever `check` asserts about the folder between fault and rerun (P1, P4).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from autolabel.errors import AutolabelError
from autolabel.store.hooks import Effect, Phase, observe
from tests.helpers.hang import HANG_SECONDS

Scenario = Callable[[Path], str]
Fault = Callable[[Phase, Effect], None]

_DATA = r"/data/"
_SYNCS = ("fsync", "fsync_folder")
BROKEN = (AssertionError, AutolabelError)  # what shows that a promise is broken


@dataclass(frozen=True)
class Run:
    """One run of a scenario in a child."""

    digest: str | None  # None if it did not come to its end
    error: str  # "" or the class name and traceback of what it raised
    signal: int  # that ended it, or 0
    num_points: int  # moments at which this fault can hit; 0 if it did not come to its end
    effects: list[dict[str, str]]  # done, in order: kind, path, target

    def written(self, root: Path, items: str) -> Counter[str]:
        """How often each file was put in place whose path below `root` (after a slash) matches `items`."""
        names = (e["target"].removeprefix(str(root)) for e in self.effects if e["kind"] == "rename")
        return Counter(name for name in names if re.search(items, name))


@dataclass(frozen=True)
class Matrix:
    num_points: int
    num_faults: int


def kill(phase: Phase, effect: Effect) -> None:
    """SIGKILL; instead of just before a write, in the middle of it."""
    if phase == "before" and effect.kind in ("write", "append"):
        with effect.path.open("ab") as file:
            file.write(memoryview(effect.data)[: len(effect.data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # the signal is on its way; this thread does nothing more


def fail_with(number: int) -> Fault:
    """A system call fails with this errno: before an effect it has done nothing, after it (as on NFS) its work."""

    def fail(phase: Phase, effect: Effect) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def matters_to_a_kill(phase: Phase, effect: Effect) -> bool:
    """A killed process leaves all it has written: before an effect, and after a sync, what the effect before it left.

    But for a write, in the middle of which `kill` can hit.
    """
    return effect.kind in ("write", "append") if phase == "before" else effect.kind not in _SYNCS


def run(scenario: Scenario, root: Path, *, at: int | None = None, fault: Fault = kill) -> Run:
    """Runs the scenario in a child; `fault` hits at point number `at`.

    Points lie before and after each effect; those of a kill only where it leaves another folder than one point earlier.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on about forking beside a test runner's threads
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(scenario, root, at, fault, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        messages = [json.loads(line) for line in pipe.read().split(b"\n")[:-1]]
    _, status = os.waitpid(pid, 0)
    last = messages[-1] if messages and "kind" not in messages[-1] else {}
    return Run(
        last.get("digest"),
        last.get("error", ""),
        os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        last.get("num_points", 0),
        [message for message in messages if "kind" in message],
    )


def _child(scenario: Scenario, root: Path, at: int | None, fault: Fault, writer: int) -> NoReturn:
    signal.alarm(HANG_SECONDS)
    points = itertools.count()
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(writer, data) :]

    def observer(phase: Phase, effect: Effect) -> None:
        with lock:
            point = next(points) if fault is not kill or matters_to_a_kill(phase, effect) else -1
            if phase == "after":
                send({"kind": effect.kind, "path": str(effect.path), "target": str(effect.target or "")})
        if point == at:
            fault(phase, effect)

    try:
        with observe(observer):
            digest = scenario(root)
        send({"digest": digest, "num_points": next(points)})
    except BaseException as error:
        send({"error": f"{type(error).__name__}: {traceback.format_exc()}"})
    finally:
        os._exit(0)  # never back into the test runner


@dataclass(frozen=True)
class Target:
    """A scenario, the folder it starts from, and what its undisturbed run did: all others are measured by that."""

    scenario: Scenario
    template: Path
    digest: str
    fault: Fault  # that is to hit it
    num_points: int
    names: frozenset[str]  # in the work folder at the end
    written: Counter[str]
    batch: int  # files among `items` that a fault may cost
    items: str  # a regular expression of paths

    @classmethod
    def measure(
        cls, scenario: Scenario, template: Path, root: Path, *, batch: int, items: str = _DATA, fault: Fault = kill
    ) -> Target:
        _copy(template, root)
        clean = run(scenario, root, fault=fault)
        assert clean.digest is not None, f"the undisturbed run failed: {clean.error or clean.signal}"
        written, names = clean.written(root, items), frozenset(_names(root))
        shutil.rmtree(root)
        return cls(scenario, template, clean.digest, fault, clean.num_points, names, written, batch, items)

    def hit(self, root: Path, plan: Sequence[int], *, check: Callable[[Path], None] | None) -> int:
        """Runs into the fault at each point of the plan in turn, then to the end; BROKEN if a promise is.

        Returns how many of them hit: a rerun may be over before it comes to its point.
        """
        _copy(self.template, root)
        runs = [_hit(self.scenario, root, point, self.fault, check) for point in plan]
        runs.append(run(self.scenario, root))
        self.compare(f"faults at {list(plan)}", runs, root)
        shutil.rmtree(root)
        return sum(one.digest is None for one in runs[:-1])

    def compare(self, what: str, runs: Sequence[Run], root: Path, *, unsafe: str = "^$") -> None:
        """`unsafe`: a regular expression of names that may be missing."""
        last = runs[-1]
        assert last.digest is not None, f"{what}: the rerun failed: {last.error or last.signal}"
        assert last.digest == self.digest, f"{what}: another digest"
        names = _names(root)
        left, missing = names - self.names, {name for name in self.names - names if not re.search(unsafe, name)}
        assert not left | missing, f"{what}: left over {sorted(left)}, missing {sorted(missing)}"
        again = sum((one.written(root, self.items) for one in runs), Counter[str]()) - self.written
        assert again.total() <= self.batch * (len(runs) - 1), f"{what}: done again {dict(again)}"


def run_kill_matrix(scenario: Scenario, base: Path, **options: Any) -> Matrix:
    """SIGKILL after every effect and in the middle of every write; options as in `run_fault_matrix`."""
    return run_fault_matrix(scenario, base, fault=kill, **options)


def run_fault_matrix(
    scenario: Scenario,
    base: Path,
    *,
    fault: Fault,
    batch: int,
    prepare: Callable[[Path], None] | None = None,
    check: Callable[[Path], None] | None = None,
    num_doubles: int = 0,
    points: Callable[[int], Iterable[int]] = range,
    seed: int = 0,
) -> Matrix:
    """Hits the scenario at each of `points(num_points)`, and `num_doubles` times at two random ones, one in the rerun.

    `prepare` fills the folder from which every run starts; `check` looks at it after each fault.
    """
    template = base / "template"
    template.mkdir()
    if prepare is not None:
        prepare(template)
    target = Target.measure(scenario, template, base / "run", batch=batch, fault=fault)
    rng = random.Random(seed)
    plans: list[tuple[int, ...]] = [(point,) for point in points(target.num_points)]
    plans += [(rng.randrange(target.num_points), rng.randrange(target.num_points)) for _ in range(num_doubles)]
    num_faults = sum(target.hit(base / "run", plan, check=check) for plan in plans)
    return Matrix(target.num_points, num_faults)


def _hit(scenario: Scenario, root: Path, point: int, fault: Fault, check: Callable[[Path], None] | None) -> Run:
    hit = run(scenario, root, at=point, fault=fault)
    assert hit.signal in (0, signal.SIGKILL), f"point {point}: ended by signal {hit.signal}"
    assert not hit.error or hit.error.startswith("StoreError"), f"point {point}: {hit.error}"
    assert hit.digest is None or hit.num_points <= point, f"point {point}: the fault went unnoticed"
    if check is not None:
        check(root)
    return hit


def _names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def _copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))
