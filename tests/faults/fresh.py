"""Forking needs a process without threads and without torch's parallel regions behind it: a new one a fault."""

from __future__ import annotations

import importlib
import multiprocessing
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import wraps
from pathlib import Path

from tests.faults.harness import BROKEN
from tests.faults.tally import Tally

Run = Callable[[int, int, Path], Tally]


def in_fresh_process(run: Run) -> Run:
    """`run`, a function at the top of a module, in a process of its own that has computed nothing yet."""

    @wraps(run)
    def elsewhere(number: int, seed: int, folder: Path) -> Tally:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_call, run.__module__, run.__name__, number, seed, folder).result()

    return elsewhere


def _call(module: str, name: str, number: int, seed: int, folder: Path) -> Tally:
    function: Run = getattr(importlib.import_module(module), name).__wrapped__
    try:
        return function(number, seed, folder)
    except BROKEN:  # in an undisturbed run, say: the soak goes on with the next fault
        return Tally(name, 0, (traceback.format_exc(),))
