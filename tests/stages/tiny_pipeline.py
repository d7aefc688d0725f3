"""One tiny experiment, run once for all tests of the stages: real scenes, real training, the real command line."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from autolabel.cli.main import cli

EXPERIMENT = """
name = "tiny"
[data]
source = "synthetic"
size = [48, 80]
num_fine = 4
num_coarse = 5
num_val = 3
[teacher]
crop = [32, 48]
batch = 2
epochs = 1
epoch_images = 8
optimizer = "adamw"
lr = 1e-3
tile = 32
ema = 0.9
checkpoint_every = 1
[teacher.model]
trunk = "hrnet_tiny"
head_channels = 8
key_channels = 4
attention_channels = 4
[infer]
scales = [0.5, 1.0]
chunk = 2
[label]
threshold = 0.4
coarse = "fill"
[student]
crop = [32, 48]
batch = 2
epochs = 1
epoch_images = 8
optimizer = "adamw"
lr = 1e-3
tile = 32
checkpoint_every = 1
[student.model]
trunk = "hrnet_tiny"
head_channels = 8
key_channels = 4
attention_channels = 4
[evaluate]
scales = [0.5, 1.0]
predictions = true
[runtime]
threads = 1
jobs = 2
device = "cpu"
"""


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
        self.file.write_text(EXPERIMENT)
        self.result = call_json("run", self.file, "--work", self.work, "-q")

    def states(self, *options: str) -> dict[str, dict]:
        found = call_json("status", self.file, "--work", self.work, *options)
        return {stage["name"]: stage for stage in found["stages"]}

    def data(self, step: str) -> Path:
        return Path(self.states()[step]["path"]) / "data"
