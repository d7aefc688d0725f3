"""A worker process of `label` with `runtime.backend = "loky"` is killed: one line, no hang, and the next run heals."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.workshop import HANG_SECONDS, Workshop, damage, ended, one_line

BACKEND = ("--set=runtime.backend='loky'", "--jobs=2")
MOST_TICKS = 40  # of a worker's CPU time (10 ms each): from its start to its work


def run(number: int, seed: int, folder: Path, shop: Workshop | None = None) -> Tally:
    rng, bad = random.Random(seed), []
    shop = shop or Workshop(folder / "shop", warmed=True)
    for i in range(number):
        work = shop.copy(folder / "work", without=["label"])
        ticks = rng.randrange(MOST_TICKS)
        bad += [f"death {i} after {ticks} ticks: {line}" for line in _try(shop, work, ticks)]
        shutil.rmtree(work)
    return Tally("worker deaths", number, tuple(bad))


def _try(shop: Workshop, work: Path, ticks: int) -> list[str]:
    command = shop.command("label", work, *BACKEND)
    process = shop.start(command)
    end, seen = time.monotonic() + HANG_SECONDS, set[int]()
    while process.poll() is None:
        assert time.monotonic() < end, "no worker"
        workers = _workers(process.pid)
        seen |= workers.keys()
        ready = [pid for pid, used in workers.items() if used >= ticks]
        if ready:
            os.kill(ready[0], signal.SIGKILL)
            break
        time.sleep(0.002)
    code, said = ended(process)
    bad = [f"process {pid} has outlived it" for pid in seen if Path(f"/proc/{pid}").exists()]
    if not ((code, said) == (0, []) or (code == 1 and one_line(said))):
        bad.append(f"exit code {code}: {said[-3:]}")
    bad += damage(work)
    again = shop.call(command)
    return [*bad, f"run again: {again}"] if again != (0, []) else [*bad, *shop.differences(work)]


def _workers(parent: int) -> dict[int, int]:
    """Process id and CPU time, in ticks, of the workers that a process has now."""
    found = {}
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            for pid in map(int, children.read_text().split()):
                if b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    found[pid] = int(fields[11]) + int(fields[12])
        except OSError:  # it has gone while we looked
            continue
    return found
