"""System calls of the real command line that fail, or in which it is killed (strace --inject).

A clean run under strace tells which calls touch the work folder, and the how-manieth of its thread each is; a fault
is one of those with ENOSPC, EIO, EDQUOT or SIGKILL. strace counts the calls of each thread by itself, so what hits a
worker thread hits the first of every worker: still a fault, in several places.
"""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.workshop import Workshop, call, damage, names, one_line

CALLS = ("write", "pwrite64", "fsync", "rename", "openat", "mkdir", "unlink", "rmdir", "ftruncate")
ERRORS = ("ENOSPC", "EIO", "EDQUOT")
KILLED = (137, -9)
STAGES = ("manifest", "label", "cut", "audit", "fuse", "report")  # which need no torch: cheap
HEAVY = ("teacher", "infer")
HEAVY_EVERY = 25  # one fault in so many hits one of these
STRACE = ["strace", "-f", "--quiet=all"]
FASTER = "--seccomp-bpf"  # strace then injects errors alone, and no signals

_LINE = re.compile(r"(\d+) +(\w+)\((.*)")


@dataclass(frozen=True)
class Place:
    """The `when`-th call of a thread."""

    call: str
    when: int


class Site:
    """One stage about to be made, in a work folder of its own."""

    def __init__(self, shop: Workshop, stage: str, folder: Path) -> None:
        self.shop, self.stage, self.folder = shop, stage, folder
        self.work, self.out = folder / "work", folder / "cut"
        self.reset()

    def reset(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.shop.copy(self.work, without=() if self.stage == "cut" else (self.stage,))

    def command(self) -> list[str]:
        if self.stage != "cut":
            return self.shop.command(self.stage, self.work)
        (codes,) = (self.work / "artefacts" / "infer").iterdir()
        start = self.shop.command("cut", self.work)[:4]
        return [*start, str(codes), "--out", str(self.out), "--jobs=2", "-q"]

    def places(self) -> list[Place]:
        """Where a fault can hit the work of a clean run."""
        log = self.folder.with_suffix(".strace")
        code, said = call([*STRACE, FASTER, "-y", "-o", str(log), "-e", f"trace={','.join(CALLS)}", *self.command()])
        assert code == 0, said
        found: set[Place] = set()
        counts: Counter[tuple[str, str]] = Counter()
        main, elsewhere = "", set[Place]()
        for line in log.read_text(errors="replace").splitlines():
            if match := _LINE.match(line):
                thread, name, arguments = match.groups()
                main = main or thread
                counts[thread, name] += 1
                place = Place(name, counts[thread, name])
                if str(self.folder) in arguments and (name != "openat" or "O_CREAT" in arguments):
                    found.add(place)
                elif thread == main:
                    elsewhere.add(place)
        self.clean = self._contents()
        self.reset()
        found -= elsewhere  # one of a worker that would also hit the main thread, while it imports say
        return sorted(found, key=lambda place: (place.call, place.when))

    def hit(self, place: Place, fault: str) -> list[str] | None:
        """The bad outcomes of one fault and the run after it; None where no call was hit."""
        inject, strace = f"inject={place.call}:error={fault}", [*STRACE, FASTER]
        if fault == "KILL":
            inject, strace = f"inject={place.call}:signal=KILL", STRACE
        log = self.folder.with_suffix(".strace")
        watched = [*strace, "-o", str(log), "-e", f"trace={place.call}", "-e", f"{inject}:when={place.when}"]
        code, said = call([*watched, *self.command()])
        hit = code in KILLED or "(INJECTED)" in log.read_text(errors="replace")
        silenced = "write(2," in log.read_text(errors="replace")  # its line was hit too
        bad = list(_bad_end(code, said or ["autolabel: "] * silenced, killed=fault == "KILL"))
        bad += damage(self.work)
        code, said = self.shop.call(self.command())
        if code or said:
            bad.append(f"run again: exit code {code}, {said[-1:]}")
        elif self._contents() != self.clean:
            bad.append(f"run again: {[*self.shop.differences(self.work)] or 'other files'}")
        self.reset()
        return bad if hit or bad else None

    def _contents(self) -> tuple[object, ...]:
        """Names and digests; of what is cut outside of a work folder, the bytes."""
        files = [path for path in self.out.rglob("*") if path.is_file()]
        cut = {path.relative_to(self.out).as_posix(): path.read_bytes() for path in files}
        return [*self.shop.differences(self.work)], names(self.folder), cut


def _bad_end(code: int, said: Sequence[str], *, killed: bool) -> list[str]:
    if code == 0 and not said:
        return []  # the call was not essential: what came out is checked all the same
    if killed and code in KILLED:
        return []
    if code > 0 and one_line(said):
        return []
    return [f"exit code {code}, {len(said)} lines: {said[-1:]}"]


def run(number: int, seed: int, folder: Path, shop: Workshop | None = None) -> Tally:
    """`number` faults that hit, spread evenly over stages and kinds of calls, at random places of each."""
    assert shutil.which("strace"), "needs strace: install it from the system's packages"
    rng, bad = random.Random(seed), []
    shop = shop or Workshop(folder / "shop", warmed=True)
    sites: dict[str, tuple[Site, dict[str, list[Place]]]] = {}
    tried = 0
    for i in range(2 * number):
        if tried == number:
            break
        heavy = i % HEAVY_EVERY == HEAVY_EVERY - 1
        stage = HEAVY[i // HEAVY_EVERY % len(HEAVY)] if heavy else STAGES[i % len(STAGES)]
        if stage not in sites:
            site = Site(shop, stage, folder / stage)
            sites[stage] = site, _by_call(site.places())
        site, places = sites[stage]
        place = rng.choice(places[rng.choice(list(places))])
        fault = rng.choice((*ERRORS, "KILL"))
        lines = site.hit(place, fault)
        tried += lines is not None  # a thread may have made fewer calls than in the clean run
        bad += [f"{stage}, {place.call} {place.when}, {fault}: {line}" for line in lines or ()]
    return Tally("syscall faults", tried, tuple(bad))


def _by_call(places: Sequence[Place]) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for place in places:
        found.setdefault(place.call, []).append(place)
    return found
