"""SIGTERM and SIGINT at random instants of a real run: exit code, one line, and nothing lost.

An instant is a moment of the run's progress, not of the clock: the signal is sent when the work folder holds so many
files and log lines as a number drawn from those of a whole run; every fourth one earlier, after so much CPU time of a
process that begins with nothing imported.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.workshop import HANG_SECONDS, Process, Workshop, damage, ended, start

STEPS = ("manifest", "teacher", "infer", "label")
START_UP = 60  # ticks of CPU time (10 ms each), more than the time before the work begins
PYTHON = 10  # of these, at least: Python itself starts, and tells of an interrupt in its own words
_ANNOUNCED = "stopping at the next safe point (again to end at once)"


def run(number: int, seed: int, folder: Path, shop: Workshop | None = None) -> Tally:
    """`number` signals, every fifth sent twice; after each the same command again."""
    rng, bad = random.Random(seed), []
    shop = shop or Workshop(folder / "shop", warmed=True)
    done = shop.part(folder, STEPS)
    whole = progress(done.work)
    for i in range(number):
        work, twice = folder / "work", i % 5 == 4
        signum = (signal.SIGTERM, signal.SIGINT)[i % 2]
        instant = -rng.randrange(PYTHON, START_UP) if i % 4 == 3 else rng.randrange(1, whole)
        lines = _interrupt(done, work, signum, instant, twice=twice, early=instant < whole // 2)
        bad += [f"{signum.name}{' twice' * twice} at {instant} of {whole}: {line}" for line in lines]
        shutil.rmtree(work, ignore_errors=True)
    return Tally("signals", number, tuple(bad))


def progress(work: Path) -> int:
    """Files that are done and log lines, of all steps."""
    files = [path for path in work.rglob("*") if path.is_file() and not path.name.startswith(".tmp")]
    return len(files) + sum(path.read_bytes().count(b"\n") for path in files if path.parent.name == "log")


def _interrupt(
    shop: Workshop, work: Path, signum: signal.Signals, instant: int, *, twice: bool, early: bool
) -> list[str]:
    """`early`: with so much left to do that it cannot be over before the signal is heeded."""
    command = shop.command("run", work, "--until", STEPS[-1])
    process = shop.start(command) if instant > 0 else start(command)
    over = _wait(process, work, instant)
    process.send_signal(signum)
    if twice and not over:
        assert process.stderr is not None
        process.stderr.readline()  # the first one has arrived
        process.send_signal(signum)
    code, said = ended(process)
    bad = damage(work)
    if not over:
        bad += _bad_twice(code, signum) if twice else _bad_end(code, said, signum)
    if code == 0 and early:
        bad.append("went on to the end")
    again = shop.call(command)
    if again != (0, []):
        return [*bad, f"run again: {again}"]
    return [*bad, *shop.differences(work)]


def _wait(process: Process, work: Path, instant: int) -> bool:
    """Until the run has come so far; True if it has ended before that."""
    end = time.monotonic() + HANG_SECONDS
    while process.poll() is None:
        assert time.monotonic() < end, "no progress"
        try:
            if _ticks(process.pid) >= -instant if instant <= 0 else progress(work) >= instant:
                return False
        except OSError:  # a file went while we looked
            pass
        time.sleep(0.002)
    return True


def _ticks(pid: int) -> int:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _bad_end(code: int, said: list[str], signum: signal.Signals) -> list[str]:
    """Caught: it says so, and in the end what to do. Before the handler is there, the signal ends it as any program."""
    messages = [
        f"{signum.name}: {_ANNOUNCED}",
        f"autolabel: stopped by {signum.name}; run the same command again to go on",
    ]
    if code == 128 + signum and said == messages:
        return []
    if code == 0 and said in ([], messages[:1]):
        return []  # the last step was done by then
    if code == -signum and not said:
        return []
    if code == 130 and said == ["autolabel: stopped by SIGINT"]:
        return []
    return [f"exit code {code}: {said}"]


def _bad_twice(code: int, signum: signal.Signals) -> list[str]:
    return [] if code in (-signum, 128 + signum, 0) else [f"exit code {code}"]
