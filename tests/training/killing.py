"""SIGKILL a real training at random moments, run it again, and compare its bits with those of an uninterrupted one.

    python -m tests.training.killing KILLS [SEED]

Once with one and once with two loader threads; bf16, averaged weights, dropout, batch norm, frozen layers, the best
weights kept, one thread for torch. The training is `autolabel run --until teacher`, forked from a process that has the
imports behind it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import autolabel.stages
import autolabel.training.loop  # noqa: F401  # a run imports it anyway
from autolabel.cli.main import cli
from autolabel.store import Artefact
from tests.helpers.experiments import NARROW, ONE_CORE, experiment_toml, scenes
from tests.helpers.hang import HANG_SECONDS

# Crops of 64 px: oneDNN's bf16 convolutions of smaller maps do not repeat themselves.
EXPERIMENT = {
    "name": "killed",
    "data": scenes(64, 96, fine=4, coarse=1, val=2),
    "teacher": {
        "crop": [64, 64],
        "batch": 2,
        "epoch_images": 10,
        "lr": 0.01,
        "tile": 32,
        "precision": "bf16",
        "ema": 0.9,
        "validate_every": 2,
        "keep_best": True,
        "checkpoint_every": 2,
        "trunk_lr": 0.5,
        "clip_grad": 1.0,
        "class_weights": [1.0, 0.5],
        "fine_share": 0.5,
        "freeze": {"stride": 2, "norms": True},
        "model": {"trunk": "resnet_tiny", **NARROW},
    },
    "runtime": ONE_CORE,
}
MOST_STEPS = 5  # between two kills


def start(folder: Path) -> int:
    """Process id of `autolabel run` on the folder's experiment."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code: object = 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    try:
        cli(["run", str(folder / "killed.toml"), "--work", str(folder / "work"), "--until", "teacher", "-q"])
    except SystemExit as end:
        code = end.code
    finally:
        os._exit(code if isinstance(code, int) else 1)


def finish(folder: Path) -> None:
    _, status = os.waitpid(start(folder), 0)
    assert status == 0, f"ended with {status}"


def rows(folder: Path) -> int:
    logs = folder.glob("work/artefacts/teacher/*.partial/log/metrics.jsonl")
    return sum(log.read_bytes().count(b'"kind": "step"') for log in logs)


def kill(folder: Path, rng: random.Random) -> None:
    """A run that is killed at a random moment of one of its next steps."""
    wanted, before = rng.randint(1, MOST_STEPS), rows(folder)
    pid, end = start(folder), time.monotonic() + HANG_SECONDS
    while rows(folder) < before + wanted:
        assert time.monotonic() < end, "no step was made"
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "ended before it was killed"
        time.sleep(0.001)
    time.sleep(rng.random() * 0.1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def prepare(folder: Path, *, kills: int, workers: int) -> None:
    folder.mkdir()
    steps_an_epoch, steps = 5, (MOST_STEPS + 1) * kills + 5
    epochs = -(-steps // steps_an_epoch)
    text = experiment_toml(EXPERIMENT, teacher={"epochs": epochs}, runtime={"workers": workers})
    (folder / "killed.toml").write_text(text)


def outcome(folder: Path) -> tuple[str, list[dict], dict]:
    """Digest of weights and figures, all validations, and the curve."""
    (path,) = folder.glob("work/artefacts/teacher/*")
    teacher = Artefact.open(path)
    return teacher.digest, teacher.provenance["history"], teacher.provenance["curve"]


def main(base: Path, *, kills: int, seed: int) -> None:
    alone = base / "alone"
    prepare(alone, kills=kills, workers=0)
    finish(alone)
    for workers in (0, 2):
        folder, rng = base / f"workers-{workers}", random.Random(seed + workers)
        prepare(folder, kills=kills, workers=workers)
        shutil.copytree(alone / "work/artefacts/manifest", folder / "work/artefacts/manifest")
        for _ in range(kills):
            kill(folder, rng)
        finish(folder)
        same = outcome(folder) == outcome(alone)
        print(f"{kills} kills, runtime.workers = {workers}: {'the same bits' if same else 'OTHER BITS'}")
        assert same


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch), kills=int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
