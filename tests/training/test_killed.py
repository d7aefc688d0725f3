"""A few of the kills of killing.py; `make kills` does twenty of each kind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.hang import HANG_SECONDS
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow


def test_killed_at_random_moments_the_training_ends_in_the_same_bits() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.training.killing", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=10 * HANG_SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("the same bits") == 2
