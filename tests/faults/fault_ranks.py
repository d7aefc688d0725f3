"""A rank of `run --nproc 2` is killed at a random moment; then other numbers of processes finish the work.

Infer: the digest of one process, so every image once. Teacher: the loss curve of one process, every step in it.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.workshop import HANG_SECONDS, Process, Workshop, damage, digests, ended

SEVERAL = 2
MOMENTS = 5  # 0: once the ranks have begun to start; then after so many shards or steps
# These settings make the curve independent of the number of ranks, except for the last bits; and more steps.
EXACT = {"precision": "fp64", "freeze_norms": "true", "model.dropout": "0.0", "epochs": "3"}
OPTIONS = {"infer": [], "teacher": [f"--set=teacher.{key}={value}" for key, value in EXACT.items()]}
BEFORE = {"infer": ["manifest", "teacher"], "teacher": ["manifest"]}
_DIED = "was ended by SIGKILL; run the same command again to go on"

Curve = dict[int, list[float]]


class Job:
    """One stage in a work folder of its own, made by several processes, or by one."""

    def __init__(self, shop: Workshop, stage: str, work: Path) -> None:
        self.shop, self.stage, self.work = shop, stage, work
        others = [path.name for path in (shop.work / "artefacts").iterdir() if path.name not in BEFORE[stage]]
        shop.copy(work, without=others)
        self.command = [*shop.command("run", work, "--until", stage), *OPTIONS[stage], "--allow-other-environment"]

    def progress(self) -> int:
        """Shards and checkpointed steps so far."""
        drafts = self.work / "artefacts" / self.stage
        return len(list(drafts.glob("*.partial/data/codes-*"))) + sum(map(len, self.curve().values()))

    def curve(self) -> Curve:
        """Losses by step; a step that was made again after a death has several."""
        found: Curve = {}
        for log in self.work.glob("artefacts/teacher/*/log/metrics.jsonl") if self.stage == "teacher" else ():
            for line in log.read_text().splitlines(keepends=True):
                if line.endswith("\n") and (row := json.loads(line))["kind"] == "step":
                    found.setdefault(row["step"], []).append(row["loss"])
        return found

    def kill(self, moment: int, rng: random.Random) -> list[str]:
        """Several processes, one of which dies; what is bad about their end."""
        command = [*self.command, f"--nproc={SEVERAL}"]
        process = self.shop.start(command)
        ranks = self._wait(process, moment)
        if ranks:
            os.kill(rng.choice(ranks), signal.SIGKILL)
        code, said = ended(process)
        bad = [f"process {pid} has outlived its job" for pid in ranks if Path(f"/proc/{pid}").exists()]
        if not ((code, said) == (0, []) or (code == 1 and len(said) == 1 and _DIED in said[0])):
            bad.append(f"exit code {code}: {said}")
        return bad + damage(self.work)

    def kill_one(self, moment: int) -> list[str]:
        """One process, killed."""
        process = self.shop.start(self.command)
        self._wait(process, moment, ranks=0)
        process.kill()
        process.communicate()
        return damage(self.work)

    def _wait(self, process: Process, moment: int, *, ranks: int = SEVERAL) -> list[int]:
        """Until that moment; the ranks' process ids, none if all is over."""
        end, before = time.monotonic() + HANG_SECONDS, self.progress()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None:
            assert time.monotonic() < end, "no progress"
            found = [int(pid) for pid in children.read_text().split()]
            if len(found) >= ranks and self.progress() >= before + moment:
                return found
            time.sleep(0.005)
        return []

    def finish(self, *, several: bool) -> list[str]:
        code, said = self.shop.call([*self.command, *([f"--nproc={SEVERAL}"] if several else [])])
        left = [path.name for path in self.work.glob("artefacts/*/*.partial")]
        return [f"to the end: exit code {code}, {said}, left over {left}"] if code or said or left else []


def run(number: int, seed: int, folder: Path, shop: Workshop | None = None) -> Tally:
    """`number` deaths, in infer and teacher in turn; every other try begins and ends with a single process."""
    rng, bad = random.Random(seed), []
    shop = shop or Workshop(folder / "shop", warmed=True)
    expected: Curve = {}
    for i in range(number):
        stage = list(OPTIONS)[i % 2]
        if stage == "teacher" and not expected:
            alone = Job(shop, stage, folder / "alone")
            assert not alone.finish(several=False)
            expected = alone.curve()
        job, single = Job(shop, stage, folder / "work"), i // 2 % 2 == 0
        lines = job.kill_one(rng.randrange(1, 3)) if single else []
        lines += [*job.kill(moment := rng.randrange(MOMENTS), rng), *job.finish(several=not single)]
        lines += _compare(shop, job, expected)
        bad += [f"{stage} at {moment}, {'1 -> ' * single}2 -> {1 if single else 2}: {line}" for line in lines]
        shutil.rmtree(job.work)
    return Tally("rank deaths", number, tuple(bad))


def _compare(shop: Workshop, job: Job, expected: Curve) -> Sequence[str]:
    if job.stage == "infer":
        return [] if digests(job.work).get("infer") == shop.digests["infer"] else ["another digest"]
    found = job.curve()
    if list(found) != list(expected):
        return [f"steps {list(found)} instead of {list(expected)}"]
    return [
        f"step {step}: loss {loss} instead of {expected[step][0]}"
        for step, losses in found.items()
        for loss in losses
        if not math.isclose(loss, expected[step][0], rel_tol=1e-9, abs_tol=1e-9)
    ]
