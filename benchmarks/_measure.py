"""Comparisons of two implementations: time in alternation, memory in a process of its own each."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

Work = Callable[[], object]


def time_ratio(theirs: Work, ours: Work, *, device: str, rounds: int) -> float:
    """Median over rounds of their seconds / our seconds."""
    return statistics.median(a / b for a, b in seconds_in_turn(theirs, ours, device=device, rounds=rounds))


def seconds_in_turn(
    theirs: Work, ours: Work, *, device: str, rounds: int, warm_up: bool = True
) -> list[tuple[float, float]]:
    """(their, our) seconds of every round, alternating, after one round that does not count."""
    seconds = _gpu_seconds if device == "cuda" else _cpu_seconds
    return [(seconds(theirs), seconds(ours)) for _ in range(rounds + warm_up)][warm_up:]


def _cpu_seconds(work: Work) -> float:
    """CPU seconds of all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _gpu_seconds(work: Work) -> float:
    """Wall seconds until the device has finished."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def memory_ratio(module: str, make: str, theirs: tuple, ours: tuple, *, rounds: int) -> float:
    """Median over rounds of their bytes / our bytes beyond the inputs, each in a fresh process.

    `make` names the function of `module` that builds the work from the arguments `theirs` or `ours` and the device.
    """
    pairs = [(_peak_bytes(module, make, theirs), _peak_bytes(module, make, ours)) for _ in range(rounds)]
    return statistics.median(a / b for a, b in pairs)


def _peak_bytes(module: str, make: str, arguments: tuple) -> int:
    code = f"import _measure, {module}; print(_measure.peak_bytes({module}.{make}(*{arguments!r}), {arguments[-1]!r}))"
    here = Path(__file__).parent
    run = subprocess.run([sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE, text=True, check=True)
    return int(run.stdout)


def peak_bytes(work: Work, device: str) -> int:
    """How far the memory of this process, or what torch allocated on the GPU, rises above what it is now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # forget earlier peaks
    before = _memory("VmRSS")
    work()
    return _memory("VmHWM") - before


def _memory(field: str) -> int:
    """Memory of this process, now (VmRSS) or at its highest (VmHWM); Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
