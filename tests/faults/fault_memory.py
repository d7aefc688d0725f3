"""Memory that runs out, losses that are not finite, loaders that die: tried by the dozen in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.workshop import HANG_SECONDS, Workshop
from tests.helpers.paths import ROOT

SECONDS_EACH = 30  # far more than a try takes: ends a hang


def run(number: int, seed: int, folder: Path, shop: Workshop | None = None) -> Tally:
    """Run it in another process, because the process that runs the faults must not import torch."""
    shop = shop or Workshop(folder / "shop")
    command = [sys.executable, "-m", "tests.faults.memory_at_work"]
    command += [str(shop.work), str(folder / "at-work"), str(number), str(seed)]
    try:
        seconds = HANG_SECONDS + SECONDS_EACH * number
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        return Tally("memory, nan and loaders", number, (f"hangs; seed {seed}; {error.stderr!r}",))
    if done.returncode:
        return Tally("memory, nan and loaders", number, (f"exit code {done.returncode}: {done.stderr[-2000:]}",))
    return Tally("memory, nan and loaders", number, tuple(json.loads(done.stdout)))
