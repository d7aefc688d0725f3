"""The outcome of many tries of one fault: the unit in which the suite asserts and `make soak` counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tally:
    """`bad` holds one line an outcome that breaks a promise, so that it can be found again: fault, place, seed."""

    fault: str
    tried: int
    bad: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.fault:28} {self.tried:6} tried {len(self.bad):6} bad"


@dataclass(frozen=True)
class Fault:
    """`run(number, seed, folder)` tries about `number` faults, chosen by `seed`, in an empty folder."""

    run: Callable[[int, int, Path], Tally]
    number: int  # of tries in a soak
    least: int  # tries below this count as a bad outcome: a soak that tried too little proves nothing
