"""Clocks that are wrong, files that were touched, work folders that were copied: nothing is made again, nothing fails.

Finished work counts by its bytes alone; so does half-finished work, and what is made under a clock a day off.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.workshop import HANG_SECONDS, Workshop, call, damage

DAY = 86_400
TORN = ("label", "infer")  # steps whose half-made drafts are disturbed
# The command line with a clock that is off by argv[1] seconds.
OTHER_CLOCK = """
import sys, time
off, real = float(sys.argv.pop(1)), time.time
time.time = lambda: real() + off
from autolabel.cli import main
main()
"""


def _times(work: Path, rng: random.Random, choose: Callable[[random.Random], float]) -> Path:
    for path in work.rglob("*"):
        at = choose(rng)
        os.utime(path, (at, at))
    return work


def _copied(work: Path, *options: str) -> Path:
    target = work.with_name("elsewhere")
    subprocess.run(["cp", *options, str(work), str(target)], check=True)
    shutil.rmtree(work)
    return target


# Ways to copy or move a work folder, and its place afterwards.
FATES: dict[str, Callable[[Path, random.Random], Path]] = {
    "touched": lambda work, rng: _times(work, rng, lambda _: time.time()),
    "a day ahead": lambda work, rng: _times(work, rng, lambda _: time.time() + DAY),
    "a day behind": lambda work, rng: _times(work, rng, lambda _: time.time() - DAY),
    "times at random": lambda work, rng: _times(work, rng, lambda r: time.time() + r.uniform(-DAY, DAY)),
    "all of 1970": lambda work, rng: _times(work, rng, lambda _: 0),
    "cp -r": lambda work, rng: _copied(work, "-r"),
    "cp -a": lambda work, rng: _copied(work, "-a"),
    "moved": lambda work, rng: work.rename(work.with_name("elsewhere")),
}


def run(number: int, seed: int, folder: Path, shop: Workshop | None = None) -> Tally:
    """In turn: all is done; a step is half done; a step is made under another clock."""
    rng, bad = random.Random(seed), []
    shop = shop or Workshop(folder / "shop")
    for i in range(number):
        fate = list(FATES)[i % len(FATES)]
        disturb = FATES[fate]
        kind = ("done", "half done", "done", "another clock")[i // 2 % 4]
        lines = {"done": _done, "half done": _half_done, "another clock": _other_clock}[kind](
            shop, folder / "work", rng, disturb
        )
        bad += [f"{kind}, {fate}: {line}" for line in lines]
        for name in ("work", "elsewhere"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return Tally("clock and copies", number, tuple(bad))


Disturb = Callable[[Path, random.Random], Path]


def _done(shop: Workshop, work: Path, rng: random.Random, disturb: Disturb) -> list[str]:
    """All steps are fresh, and a run makes none."""
    work = disturb(shop.copy(work), rng)
    look = [part for part in shop.command("status", work, "--json") if part != "-q"]
    status = subprocess.run(look, capture_output=True, text=True)
    if status.returncode or status.stderr:
        return [f"status: exit code {status.returncode}: {status.stderr}"]
    states = {stage["name"]: stage["state"] for stage in json.loads(status.stdout)["stages"]}
    bad = [f"status: {name} is {state}" for name, state in states.items() if state != "fresh"]
    again = subprocess.run(shop.command("run", work, "--json"), capture_output=True, text=True)
    if again.returncode or again.stderr or json.loads(again.stdout)["made"]:
        bad.append(f"run: exit code {again.returncode}, {again.stdout} {again.stderr}")
    return [*bad, *damage(work), *shop.differences(work)]


def _half_done(shop: Workshop, work: Path, rng: random.Random, disturb: Disturb) -> list[str]:
    """A run is killed in the middle of a step, the folder disturbed, and the run goes on."""
    step = rng.choice(TORN)
    shop.copy(work, without=[step])
    process = subprocess.Popen(shop.command(step, work), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + HANG_SECONDS
    while process.poll() is None and not list(work.glob(f"artefacts/{step}/*.partial/data/*")):
        assert time.monotonic() < end, "no progress"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    work = disturb(work, rng)
    code, said = call(shop.command(step, work))
    return [f"exit code {code}: {said}"] if code or said else [*damage(work), *shop.differences(work)]


def _other_clock(shop: Workshop, work: Path, rng: random.Random, disturb: Disturb) -> list[str]:
    """A step is made with a clock that is a day off, beside steps whose times say other things."""
    work = disturb(shop.copy(work, without=["label"]), rng)
    command = shop.command("label", work)
    code, said = call([sys.executable, "-c", OTHER_CLOCK, str(rng.choice((-DAY, DAY))), *command[3:]])
    return [f"exit code {code}: {said}"] if code or said else [*damage(work), *shop.differences(work)]
