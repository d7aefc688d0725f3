"""SIGKILL and I/O errors at every effect of the small stage, which uses the store alone."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.faults import harness
from tests.faults.fresh import in_fresh_process
from tests.faults.small_stage import BATCH, check, prepare, scenario
from tests.faults.tally import Tally

_EVERY = 5  # one point in so many fails: before some effects and after others


@in_fresh_process
def kills(number: int, seed: int, folder: Path) -> Tally:
    """At every point, then at `number` random pairs of them, the second in the rerun."""
    return _matrix("store, kills", folder, fault=harness.kill, num_doubles=number, seed=seed)


@in_fresh_process
def failed_effects(number: int, seed: int, folder: Path) -> Tally:
    """The system call of every fifth point fails, beginning with that number `seed`, with the errno `number`."""

    def points(num_points: int) -> Iterable[int]:
        return range(seed, num_points, _EVERY)

    return _matrix(f"store, {errno.errorcode[number]}", folder, fault=harness.fail_with(number), points=points)


def _matrix(
    name: str,
    folder: Path,
    *,
    fault: harness.Fault,
    num_doubles: int = 0,
    points: Callable[[int], Iterable[int]] = range,
    seed: int = 0,
) -> Tally:
    done = harness.run_fault_matrix(
        scenario,
        folder,
        fault=fault,
        batch=BATCH,
        prepare=prepare,
        check=check,
        num_doubles=num_doubles,
        points=points,
        seed=seed,
    )
    return Tally(name, done.num_faults)
