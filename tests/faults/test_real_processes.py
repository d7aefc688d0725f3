"""A few of each fault that hits processes of the real command line; `make soak` tries them by the dozen."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults import (
    fault_copies,
    fault_memory,
    fault_quarantine,
    fault_ranks,
    fault_runs,
    fault_signals,
    fault_syscalls,
    fault_workers,
)
from tests.faults.workshop import Workshop

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.slow]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("shop"))


@pytest.mark.skipif(
    shutil.which("strace") is None and "CI" not in os.environ, reason="needs strace, a package of the system"
)
def test_system_calls_that_fail_or_kill(shop: Workshop, ram: Path) -> None:
    tally = fault_syscalls.run(9, 1, ram, shop)
    assert not tally.bad
    assert tally.tried == 9, "the others have hit nothing"


def test_runs_at_once(shop: Workshop, ram: Path) -> None:
    assert not fault_runs.run(2, 0, ram, shop).bad


def test_signals(shop: Workshop, ram: Path) -> None:
    assert not fault_signals.run(2, 0, ram, shop).bad


def test_a_rank_that_dies_while_it_labels(shop: Workshop, ram: Path) -> None:
    """Ranks of the teacher are killed in tests/stages/test_processes.py."""
    assert not fault_ranks.run(1, 0, ram, shop).bad


def test_a_worker_process_that_is_killed(shop: Workshop, ram: Path) -> None:
    assert not fault_workers.run(1, 0, ram, shop).bad


def test_images_that_go_bad_and_are_repaired(ram: Path) -> None:
    assert not fault_quarantine.run(3, 0, ram, infer_every=3).bad


def test_clocks_and_copies(shop: Workshop, ram: Path) -> None:
    assert not fault_copies.run(8, 0, ram, shop).bad


def test_memory_losses_and_loaders(shop: Workshop, ram: Path) -> None:
    assert not fault_memory.run(6, 0, ram, shop).bad
