"""Several runs started at once in one work folder: one does the work, the others are refused and name it."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.workshop import HANG_SECONDS, Workshop, damage

RUNS = 4
STAGES = ("label", "manifest", "audit", "fuse")
_HOLDER = re.compile(r"autolabel: .*: another run holds this folder( \(pid (\d+) on [^)]*\))?; wait for it, or stop it")


def run(number: int, seed: int, folder: Path, shop: Workshop | None = None) -> Tally:
    """`number` times four processes; each must end with 0, or with 75 and the winner's process id."""
    rng, bad = random.Random(seed), []
    shop = shop or Workshop(folder / "shop")
    for i in range(number):
        stage = STAGES[i % len(STAGES)]
        work = shop.copy(folder / "work", without=[stage])
        command = shop.command(stage, work, "--json")
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(RUNS)
        ]
        rng.shuffle(processes)
        said = {process.pid: (*process.communicate(timeout=HANG_SECONDS), process.returncode) for process in processes}
        lines = [*_bad_ends(said, stage), *damage(work), *shop.differences(work)]
        bad += [f"try {i}, {stage}: {line}" for line in lines]
        shutil.rmtree(work)
    return Tally("concurrent runs", number * RUNS, tuple(bad))


def _bad_ends(said: dict[int, tuple[str, str, int]], stage: str) -> list[str]:
    """Just one has made the step; who came when it was done has found it up to date; the rest were refused."""
    bad = []
    made = [pid for pid, (out, _, code) in said.items() if code == 0 and f'"made": ["{stage}"]' in out]
    if len(made) != 1:
        bad.append(f"{len(made)} of {RUNS} did the work")
    for out, err, code in said.values():
        holder = _HOLDER.fullmatch(err.strip())
        if code == 0 and not err and '"made": [' in out:
            continue
        if code == 75 and holder and (holder[2] is None or int(holder[2]) in said):
            continue
        bad.append(f"exit code {code}: {err!r}")
    return bad
