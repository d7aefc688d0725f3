"""Several processes at one step: stopped, killed, resumed by fewer, on two machines, and with an image that is bad."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.experiments import experiment_toml
from tests.helpers.hang import HANG_SECONDS
from tests.stages.tiny_pipeline import Tiny, call, call_json

OUR_LINE = re.compile(rb"\d\d:\d\d:\d\d ")  # of progress; torchrun has warnings of its own to add, now and then
CHECKPOINT = "artefacts/teacher/*.partial/state/checkpoint.pt"
# The loss curve must not depend on the number of ranks.
EXACT = [
    "teacher.precision=fp64",
    "teacher.freeze_norms=true",
    "teacher.model.dropout=0.0",
    "teacher.model.trunk=resnet_tiny",
    "teacher.batch=4",
    "teacher.epochs=10",
]


pytestmark = pytest.mark.xdist_group("tiny")


def with_manifest(tiny: Tiny, work: Path) -> Path:
    """A work folder whose first step is done."""
    shutil.copytree(tiny.work / "artefacts" / "manifest", work / "artefacts" / "manifest")
    return work


def arguments(file: Path, work: Path, *extra: str, overrides: list[str]) -> list[str]:
    return [str(file), "--work", str(work), *extra, *(f"--set={override}" for override in overrides)]


class TwoRanks:
    """The real program with --nproc 2, in a session of its own."""

    def __init__(self, file: Path, work: Path, overrides: list[str]) -> None:
        options = arguments(file, work, "-q", "--until", "teacher", "--nproc", "2", overrides=overrides)
        command = [sys.executable, "-m", "autolabel", "run", *options]
        self.work = work
        self.before = self.checkpoint()
        self.process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)

    def checkpoint(self) -> int:
        return max((path.stat().st_mtime_ns for path in self.work.glob(CHECKPOINT)), default=0)

    def wait_for_a_step(self) -> list[int]:
        """Until a new checkpoint is there; the ranks' process ids."""
        end = time.monotonic() + HANG_SECONDS
        while self.checkpoint() == self.before:
            assert self.process.poll() is None, self.ended()
            assert time.monotonic() < end
            time.sleep(0.01)
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def ended(self) -> tuple[int, list[str]]:
        """Exit code and lines on stderr."""
        _, said = self.process.communicate(timeout=HANG_SECONDS)
        return self.process.returncode, said.decode().splitlines()


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def losses(work: Path) -> dict[int, list[float]]:
    """By step; a step that was made again after a kill has several."""
    found: dict[int, list[float]] = {}
    (log,) = work.glob("artefacts/teacher/*/log/metrics.jsonl")
    for row in map(json.loads, log.read_text().splitlines()):
        if row["kind"] == "step":
            found.setdefault(row["step"], []).append(row["loss"])
    return found


@pytest.mark.slow
def test_stopped_then_killed_then_finished_by_one_process(tiny: Tiny, tmp_path: Path) -> None:
    file, alone, work = tiny.file, with_manifest(tiny, tmp_path / "alone"), with_manifest(tiny, tmp_path / "work")
    assert call("run", *arguments(file, alone, "-q", "--until", "teacher", overrides=EXACT)).exit_code == 0

    ranks = TwoRanks(file, work, EXACT)
    pids = ranks.wait_for_a_step()
    assert len(alive(pids)) == 2
    ranks.process.send_signal(signal.SIGTERM)
    code, said = ranks.ended()
    assert (code, alive(pids)) == (143, [])
    assert said == [
        "SIGTERM: stopping at the next safe point (again to end at once)",
        "autolabel: stopped by SIGTERM; run the same command again to go on",
    ]

    ranks = TwoRanks(file, work, EXACT)
    pids = ranks.wait_for_a_step()
    os.kill(pids[1], signal.SIGKILL)
    code, said = ranks.ended()
    assert (code, len(said), alive(pids)) == (1, 1, [])
    assert "autolabel: teacher: process 1 was ended by SIGKILL; run the same command again" in said[0]

    one = arguments(file, work, "-q", "--until", "teacher", overrides=EXACT)
    refused = call("run", *one)
    assert refused.exit_code == 2
    assert "teacher: was begun under another environment (processes 2 -> 1" in refused.stderr
    result = call("run", *one, "--allow-other-environment")
    assert result.exit_code == 0, result.stderr
    assert not list(work.glob("artefacts/*/*.partial"))
    expected, found = losses(alone), losses(work)
    assert list(found) == list(expected) == list(range(1, 21))
    for step, values in found.items():
        assert values == pytest.approx(expected[step] * len(values), rel=1e-9, abs=1e-9), step


@pytest.mark.slow
def test_an_image_that_one_rank_cannot_read_is_one_line(tmp_path: Path) -> None:
    root, work, file = tmp_path / "data", tmp_path / "work", tmp_path / "x.toml"
    rng = np.random.default_rng(0)
    for name in "abcd":
        for folder, high, shape in (("images", 256, (64, 64, 3)), ("masks", 1, (64, 64))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, high, shape, np.uint8)).save(root / folder / f"{name}.png")
    (root / "classes.toml").write_text('names = ["road"]')
    data = {"source": "folder", "root": str(root), "val_share": 0.0}
    teacher = {"batch": 2, "epochs": 1, "class_uniform": 0.0, "crop": [32, 32], "freeze_norms": True}
    model = {"trunk": "resnet_tiny", "head_channels": 8}
    file.write_text(experiment_toml(data=data, teacher={**teacher, "model": model}))
    assert call("run", *arguments(file, work, "-q", "--until", "manifest", overrides=[])).exit_code == 0
    image = root / "images" / "b.png"  # one of the ranks comes to it
    image.write_bytes(image.read_bytes()[:-1] + b"?")
    code, said = TwoRanks(file, work, ["data.val_share=0.0", "runtime.device=cpu"]).ended()
    assert (code, len(said)) == (3, 1), said
    assert "b.png" in said[0]


@pytest.mark.slow
def test_two_machines(tiny: Tiny, tmp_path: Path) -> None:
    """One rank on each of two; they meet through torchrun alone, and share two steps."""
    work, steps = tmp_path / "work", ("evaluate-teacher", "evaluate-student")
    shutil.copytree(tiny.work / "artefacts", work / "artefacts", ignore=shutil.ignore_patterns("evaluate-*", "report"))
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{_free_port()}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *meeting, "--rdzv-id=x", "--log-dir=/dev/null"]
    command = [*torchrun, "-m", "autolabel", "evaluate", *arguments(tiny.file, work, "--json", overrides=[])]
    machines = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = sorted(machine.communicate(timeout=HANG_SECONDS) for machine in machines)
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert said[0][0] == b"", "only rank 0 speaks"
    assert not [line for line in said[0][1].splitlines() if OUR_LINE.match(line)], "only rank 0 speaks"
    assert json.loads(said[1][0])["made"] == list(steps)
    assert [line for line in said[1][1].splitlines() if OUR_LINE.match(line)], said
    found = {stage["name"]: stage for stage in call_json("status", tiny.file, "--work", work)["stages"]}
    for step in steps:
        assert found[step]["digest"] == tiny.states()[step]["digest"], step


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
