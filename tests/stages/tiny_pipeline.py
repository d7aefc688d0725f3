"""One tiny experiment, run once for all tests of the stages: real scenes, real training, the real command line."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from autolabel.cli.main import cli
from tests.helpers.experiments import NARROW, ONE_CORE, experiment_toml, scenes

TRAINING = {
    "crop": [32, 48],
    "batch": 2,
    "epochs": 1,
    "epoch_images": 8,
    "optimizer": "adamw",
    "lr": 1e-3,
    "tile": 32,
    "checkpoint_every": 1,
    "model": {"trunk": "hrnet_tiny", **NARROW},
}
TINY = {
    "name": "tiny",
    "data": scenes(48, 80, fine=4, coarse=5, val=3),
    "teacher": {**TRAINING, "ema": 0.9},
    "infer": {"scales": [0.5, 1.0], "chunk": 2},
    "label": {"threshold": 0.4, "coarse": "fill"},
    "student": TRAINING,
    "evaluate": {"scales": [0.5, 1.0], "predictions": True},
    "runtime": {**ONE_CORE, "jobs": 2},
}


def call(*args: object) -> Result:
    """The command line in this process; a traceback fails the test that meets it."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def call_json(*args: object) -> dict:
    result = call(*args, "--json")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1, "exactly one object on stdout"
    return json.loads(result.stdout)


class Tiny:
    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.work = folder, folder / "tiny.toml", folder / "work"
        self.file.write_text(experiment_toml(TINY))
        self.result = call_json("run", self.file, "--work", self.work, "-q")

    def states(self, *options: str) -> dict[str, dict]:
        found = call_json("status", self.file, "--work", self.work, *options)
        return {stage["name"]: stage for stage in found["stages"]}

    def data(self, step: str) -> Path:
        return Path(self.states()[step]["path"]) / "data"
