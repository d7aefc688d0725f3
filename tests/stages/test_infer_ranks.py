"""Infer made by several processes: chunks handed out once, killed, stopped, and finished by fewer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autolabel.store import Artefact
from autolabel.store.journal import parse
from tests.helpers.hang import HANG_SECONDS
from tests.stages.tiny_pipeline import Tiny, call

pytestmark = [pytest.mark.xdist_group("tiny"), pytest.mark.slow]

SLOWLY = ["infer.chunk=1", "infer.scales=[1.0, 8.0]"]  # eight chunks that take a moment each
NAMES = [f"codes-{i:05}.h5" for i in range(5)] + [f"val-{i:05}.h5" for i in range(3)]


def prepared(tiny: Tiny, work: Path) -> Path:
    """A work folder with manifest and teacher."""
    for step in ("manifest", "teacher"):
        shutil.copytree(tiny.work / "artefacts" / step, work / "artefacts" / step)
    return work


def arguments(tiny: Tiny, work: Path, *extra: str) -> list[str]:
    return [str(tiny.file), "--work", str(work), "-q", *extra, *(f"--set={setting}" for setting in SLOWLY)]


def made(work: Path) -> Artefact:
    (path,) = (work / "artefacts" / "infer").iterdir()  # nothing is left of drafts
    artefact = Artefact.open(path)
    assert artefact.verify(full=True) == []
    return artefact


def journaled(work: Path) -> dict[str, int]:
    """When the shard of each row was written; every chunk stands in one journal, once."""
    files = sorted(work.glob("artefacts/infer/*.partial/journal/*"))
    shards = [file.parents[1] / "data" / row["name"] for file in files for row in parse(file.read_bytes()).rows]
    assert len(set(shards)) == len(shards)
    return {shard.name: shard.stat().st_mtime_ns for shard in shards}


class Ranks:
    """The real program with --nproc N."""

    def __init__(self, tiny: Tiny, work: Path, number: int) -> None:
        options = arguments(tiny, work, "--until=infer", f"--nproc={number}")
        command = [sys.executable, "-m", "autolabel", "run", *options]
        self.work = work
        self.process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)

    def wait_for_rows(self, number: int) -> list[int]:
        """Until journals hold so many; the ranks' process ids."""
        end = time.monotonic() + HANG_SECONDS
        while len(journaled(self.work)) < number:
            assert self.process.poll() is None, self.ended()
            assert time.monotonic() < end
            time.sleep(0.005)
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def ended(self) -> tuple[int, list[str]]:
        _, said = self.process.communicate(timeout=HANG_SECONDS)
        return self.process.returncode, said.decode().splitlines()


@pytest.fixture(scope="module")
def alone(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    work = prepared(tiny, tmp_path_factory.mktemp("alone"))
    assert call("run", *arguments(tiny, work, "--until=infer")).exit_code == 0
    return made(work)


def test_three_ranks_one_killed_then_two(tiny: Tiny, alone: Artefact, tmp_path: Path) -> None:
    work = prepared(tiny, tmp_path)
    ranks = Ranks(tiny, work, 3)
    os.kill(ranks.wait_for_rows(1)[-1], signal.SIGKILL)
    code, said = ranks.ended()
    assert (code, len(said)) == (1, 1), said
    assert "was ended by SIGKILL; run the same command again to go on, with a smaller runtime.infer_batch" in said[0]
    before = journaled(work)
    assert 1 <= len(before) < len(NAMES)
    assert Ranks(tiny, work, 2).ended() == (0, [])
    artefact = made(work)
    assert artefact.digest == alone.digest
    assert artefact.provenance["processes"] == 2
    assert {name: artefact.file(name).stat().st_mtime_ns for name in before} == before, "none was made again"


def test_two_ranks_stopped_then_one(tiny: Tiny, alone: Artefact, tmp_path: Path) -> None:
    work = prepared(tiny, tmp_path)
    ranks = Ranks(tiny, work, 2)
    ranks.wait_for_rows(1)
    ranks.process.send_signal(signal.SIGTERM)
    code, said = ranks.ended()
    assert code == 143
    assert said == [
        "SIGTERM: stopping at the next safe point (again to end at once)",
        "autolabel: stopped by SIGTERM; run the same command again to go on",
    ]
    before = journaled(work)
    assert call("run", *arguments(tiny, work, "--until=infer")).exit_code == 0
    artefact = made(work)
    assert artefact.digest == alone.digest
    assert {name: artefact.file(name).stat().st_mtime_ns for name in before} == before


def test_the_queues_of_every_chunk_are_logged(alone: Artefact) -> None:
    assert [json.loads(line)["chunk"] for line in alone.log_lines("queues.jsonl")] == NAMES
    assert alone.provenance["queues"]["bottleneck"] in ("decoding", "network", "writing")


def test_every_chunk_is_in_the_index_once(alone: Artefact) -> None:
    shards = json.loads(alone.read("shards.json"))["shards"]
    assert [shard["name"] for shard in shards] == NAMES
    ids = [image for shard in shards for image in shard["ids"]]
    assert len(set(ids)) == len(ids) == 8


def test_torchrun_starts_the_ranks_again(tiny: Tiny, alone: Artefact, tmp_path: Path) -> None:
    work = prepared(tiny, tmp_path)
    launcher = ["torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--rdzv-backend=c10d"]
    options = ["--rdzv-endpoint=localhost:0", "-m", "autolabel", "infer", *arguments(tiny, work)]
    process = subprocess.Popen([sys.executable, "-m", *launcher, *options], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + HANG_SECONDS
        while not journaled(work):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        assert process.wait(HANG_SECONDS) == 0
    finally:
        process.terminate()  # it ends its ranks
        process.wait()
    assert made(work).digest == alone.digest
