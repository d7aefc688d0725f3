"""`make soak`: every fault, many times; one line of counts a fault, and exit code 1 if any outcome was bad."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.faults import (
    fault_allocations,
    fault_copies,
    fault_environments,
    fault_flips,
    fault_fuzz,
    fault_hostile_files,
    fault_inputs,
    fault_kills,
    fault_links,
    fault_malformed_input,
    fault_memory,
    fault_mutants,
    fault_outputs,
    fault_power,
    fault_quarantine,
    fault_ranks,
    fault_runs,
    fault_signals,
    fault_syscalls,
    fault_workers,
    fault_wrong_calls,
)
from tests.faults.tally import Fault, Tally
from tests.helpers.paths import ROOT

FAULTS: dict[str, Fault] = {
    "kills": Fault(fault_kills.kills, 4800, least=4000),
    "double kills": Fault(fault_kills.double_kills, 480, least=400),
    "failed effects": Fault(fault_kills.failed_effects, 600, least=400),
    "power loss": Fault(fault_power.power_loss, 1200, least=800),
    "bit flips": Fault(fault_flips.bit_flips, 4000, least=3000),
    "mutants": Fault(fault_mutants.mutants, 2 * len(fault_mutants.MUTANTS), least=18),
    "syscall faults": Fault(fault_syscalls.run, 320, least=300),
    "concurrent runs": Fault(fault_runs.run, 100, least=400),
    "signals": Fault(fault_signals.run, 88, least=80),
    "rank deaths": Fault(fault_ranks.run, 40, least=40),
    "quarantine": Fault(fault_quarantine.run, 80, least=80),
    "worker deaths": Fault(fault_workers.run, 60, least=60),
    "clock and copies": Fault(fault_copies.run, 128, least=120),
    "memory, nan and loaders": Fault(fault_memory.run, 180, least=180),
    "malformed input": Fault(fault_malformed_input.run, 8000, least=1000),
    "hostile files": Fault(fault_hostile_files.run, 500, least=200),
    "wrong calls": Fault(fault_wrong_calls.run, 3000, least=600),
    "fuzzed bytes": Fault(fault_fuzz.run, 20_000, least=20_000),
    "allocation failures": Fault(fault_allocations.run, 500, least=500),
    "concurrent outputs": Fault(fault_outputs.run, 200, least=200),
    "changed inputs": Fault(fault_inputs.run, 300, least=300),
    "links and foreign folders": Fault(fault_links.run, 60, least=60),
    "environments": Fault(fault_environments.run, 60, least=60),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), help="just this fault (repeatable)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the number of tries; below 1 for a first look")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time")
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    options = parser.parse_args(arguments)
    with ThreadPoolExecutor(options.jobs) as pool:
        tallies = list(pool.map(lambda name: _fresh(name, options.seed, options.share), options.only or FAULTS))
    if options.json:
        counts = {tally.fault: {"tried": tally.tried, "bad": len(tally.bad)} for tally in tallies}
        options.json.write_text(json.dumps(counts, indent=1) + "\n")
    tried, bad = sum(tally.tried for tally in tallies), sum(len(tally.bad) for tally in tallies)
    print(f"{tried} faults, {bad} bad, {_cpu_seconds() / 60:.1f} CPU minutes")
    return int(any(tally.bad for tally in tallies))


def _fresh(name: str, seed: int, share: float) -> Tally:
    """In a process of its own, which has run nothing else: some faults fork, others import torch."""
    command = [sys.executable, "-m", "tests.faults.soak", "--one", name, str(seed), str(share)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode == 0:
        seconds, found = json.loads(done.stdout.splitlines()[-1])
        tally = Tally(**found)
    else:
        seconds, tally = 0.0, Tally(name, 0, (f"ended by {done.returncode}",))
    print("\n    ".join([f"{tally} {seconds:8.1f} CPU s", *tally.bad[:20]]), flush=True)
    return tally


def _cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _try(fault: Fault, seed: int, share: float) -> Tally:
    memory = Path("/dev/shm")  # fsync costs nothing there
    folder = Path(tempfile.mkdtemp(prefix="autolabel-soak-", dir=memory if memory.is_dir() else None))
    try:
        tally = fault.run(max(1, round(fault.number * share)), seed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if share >= 1 and tally.tried < fault.least:
        tally = Tally(tally.fault, tally.tried, (*tally.bad, f"only {tally.tried} tried of at least {fault.least}"))
    return tally


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what it starts must not
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.argv[1:2] == ["--one"]:
        tally = _try(FAULTS[sys.argv[2]], int(sys.argv[3]), float(sys.argv[4]))
        print(json.dumps([_cpu_seconds(), asdict(tally)]))
    else:
        sys.exit(main())
