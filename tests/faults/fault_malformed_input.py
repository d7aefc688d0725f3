"""Malformed manifests and experiments: each is refused in one line that names the place, or means what it says."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.faults import malformed_configs, malformed_manifests
from tests.faults.tally import Tally


def run(number: int, seed: int, folder: Path) -> Tally:
    """By turns from manifests and experiments; above the number of single mistakes they come again, placed anew."""
    rng = random.Random(seed)
    here = Path.cwd()
    os.chdir(folder)  # whatever were written would show
    try:
        bad, tried = [], 0
        while tried < number:
            manifests = [(case.title, malformed_manifests.refusal, case) for case in malformed_manifests.cases(rng)]
            experiments = [(case.title, malformed_configs.refusal, case) for case in malformed_configs.configs(rng)]
            tries = [*manifests, *experiments]
            rng.shuffle(tries)
            for title, meet, case in tries[: number - tried]:
                problem = meet(case)  # type: ignore[operator]
                tried += 1
                bad += [f"{title}: {problem}"] if problem else []
    finally:
        os.chdir(here)
    bad += [f"written: {path.name}" for path in folder.iterdir()]
    return Tally("malformed input", tried, tuple(dict.fromkeys(bad)))
