"""Forking needs a small process without threads and without torch's parallel regions behind it: a new one.

A test runner is none: it grows to 1.5 GB, whose page tables every fork copies.
"""

from __future__ import annotations

import importlib
import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from tests.faults.harness import BROKEN
from tests.faults.tally import Tally

Run = Callable[[int, int, Path], Tally]
_lasting: list[ProcessPoolExecutor] = []


def in_fresh_process(run: Run) -> Run:
    """`run`, a function at the top of a module, in a process of its own that has computed nothing yet."""

    @wraps(run)
    def elsewhere(number: int, seed: int, folder: Path) -> Tally:
        call = run.__module__, run.__name__, number, seed, folder
        if _lasting:
            return _lasting[-1].submit(_call, *call).result()
        with _one_worker() as pool:
            return pool.submit(_call, *call).result()

    return elsewhere


@contextmanager
def one_process(folder: Path) -> Iterator[None]:
    """As long as this lasts, such functions share one process, which imports once and makes each experiment once.

    It computes nothing itself: the faults do all their work in children.
    """
    with _one_worker() as pool:
        pool.submit(_share, folder).result()
        _lasting.append(pool)
        try:
            yield
        finally:
            _lasting.pop()


def _one_worker() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _share(folder: Path) -> None:
    from tests.faults import minute

    minute.share(folder)


def _call(module: str, name: str, number: int, seed: int, folder: Path) -> Tally:
    function: Run = getattr(importlib.import_module(module), name).__wrapped__
    try:
        return function(number, seed, folder)
    except BROKEN:  # in an undisturbed run, say: the soak goes on with the next fault
        return Tally(name, 0, (traceback.format_exc(),))
