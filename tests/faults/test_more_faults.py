"""A few of the mutated bytes, failed allocations and concurrent outputs of `make soak`; and that the judges see."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autolabel.errors import DataError
from tests.faults import fault_allocations, fault_fuzz, fault_outputs
from tests.faults.forked import End, forked


@pytest.mark.slow
def test_mutated_bytes_are_read_or_refused(ram: Path) -> None:
    tally = fault_fuzz.run(15 * fault_fuzz.BATCH, 0, ram)
    assert not tally.bad, "\n".join(tally.bad)


@pytest.mark.slow
def test_memory_that_runs_out_at_any_line(ram: Path) -> None:
    tally = fault_allocations.run(40, 0, ram)
    assert not tally.bad, "\n".join(tally.bad)


@pytest.mark.slow
def test_commands_at_once_on_one_folder(ram: Path) -> None:
    tally = fault_outputs.run(8, 0, ram)
    assert not tally.bad, "\n".join(tally.bad)


def test_the_judge_of_bytes_sees_other_errors_and_long_lines() -> None:
    def broken(data: bytes) -> None:
        raise KeyError("x")

    def chatty(data: bytes) -> None:
        raise MemoryError

    assert fault_fuzz.judged(broken, b"").startswith("KeyError")
    assert "GB" in fault_fuzz.judged(chatty, b"")
    assert fault_fuzz.judged(len, b"") == ""
    rng = random.Random(0)
    assert len({fault_fuzz.mutated((b"hello world",), rng) for _ in range(50)}) > 25


def test_the_judge_of_memory_sees_good_bytes_taken_for_bad_ones() -> None:
    def task(folder: Path) -> str:
        try:
            return str(len(bytes(10)))
        except MemoryError:
            raise DataError("x", "cannot be decoded") from None

    error = f"Traceback\n{DataError.__name__}: x: cannot be decoded"
    assert fault_allocations._bad_end(End(None, error), "10")
    assert not fault_allocations._bad_end(End(None, "Traceback\nMemoryError"), "10")
    assert fault_allocations._bad_end(End("11"), "10") == ["another result"]
    assert task(Path()) == "10"


def test_a_child_that_crashes_or_hangs_is_an_outcome() -> None:
    def hang() -> str:
        while True:
            pass

    assert forked(lambda: "x") == End("x")
    assert "ZeroDivisionError" in forked(lambda: str(1 // 0)).error
    assert forked(hang, seconds=1).error == "hangs for 1 s"
    assert "MemoryError" in forked(lambda: str(len(bytes(10**10))), memory=10**8).error
