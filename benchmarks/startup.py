"""The CPU seconds that a command takes before its work begins.

    python benchmarks/startup.py [--json] [--rounds 3] [--images 20000]

`NAME.cpu_seconds` of `import autolabel`, `--help`, `status`, and `predict` of one image with a tiny network, each a
process of its own, the least of the rounds. `torch` is `import torch` alone, which `predict` and trainings include.
`training_N` is a training of one step on a folder of N labelled images of 64 x 48, from its process's start to its
end and less `torch`: settings, key, manifest, sampling, one step and its checkpoint. `--images 0` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from _one_step import TEACHER
from PIL import Image

from autolabel.config.networks import ModelConfig
from autolabel.models import WeightsCard, build_model, weights_to_bytes
from autolabel.resources import resource

FEW = 20  # images of the training that the large one is compared with
EXPERIMENT = """
name = "startup"
[data]
source = "folder"
root = "{root}"
val_share = 0.01
{teacher}[runtime]
device = "cpu"
threads = 1
jobs = 1
"""


def cpu_seconds(command: list[str], cwd: Path) -> float:
    """CPU seconds of a process with its children."""
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), **os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{process.returncode}: {' '.join(command)}"
    return used.ru_utime + used.ru_stime


def small_commands(folder: Path, rounds: int) -> dict[str, float]:
    torch.manual_seed(0)
    table = ModelConfig(trunk="hrnet_tiny", head_channels=8, key_channels=4, attention_channels=4)
    card = WeightsCard(table=table, class_names=("a", "b"))
    (folder / "weights.safetensors").write_bytes(weights_to_bytes(build_model(table, 2), card))
    (folder / "demo.toml").write_bytes(resource("configs", "demo.toml"))
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).save(folder / "image.png")
    program = [sys.executable, "-m", "autolabel"]
    predict = ["predict", "--teacher", "weights.safetensors", "image.png", "--out", "out", "--overwrite"]
    commands = {
        "torch": [sys.executable, "-c", "import torch"],
        "import": [sys.executable, "-c", "import autolabel"],
        "help": [*program, "--help"],
        "status": [*program, "status", "demo.toml"],
        "predict": [*program, *predict],
    }
    return {name: min(cpu_seconds(command, folder) for _ in range(rounds)) for name, command in commands.items()}


def make_data(root: Path, number: int) -> None:
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "classes.toml").write_text('names = ["a", "b", "c"]')
    for index in range(number):
        blocks = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        blocks.resize((64, 48), Image.Resampling.BILINEAR).save(root / "images" / f"{index:06}.jpg")
        ids = np.kron(rng.integers(0, 3, (3, 4), np.uint8), np.ones((16, 16), np.uint8))
        Image.fromarray(ids).save(root / "masks" / f"{index:06}.png")


def training(folder: Path, number: int, rounds: int) -> float:
    """CPU seconds of a training of one step on `number` images; each round has another seed, so that it runs."""
    make_data(folder / "data", number)
    (folder / "x.toml").write_text(EXPERIMENT.format(teacher=TEACHER, root=folder / "data"))
    run = [sys.executable, "-m", "autolabel"]
    cpu_seconds([*run, "run", "--until=manifest", "-q", "x.toml"], folder)
    seeds = range(1, rounds + 1)
    return min(cpu_seconds([*run, "teacher", "-q", "x.toml", f"--set=seed={seed}"], folder) for seed in seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=20_000, help="of the training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ("small", "few", "many")}
        for folder in folders.values():
            folder.mkdir()
        result = small_commands(folders["small"], options.rounds)
        if options.images:
            for name, number in (("few", FEW), ("many", options.images)):
                result[f"training_{number}"] = training(folders[name], number, options.rounds) - result["torch"]
    if options.json:
        print(json.dumps({f"{name}.cpu_seconds": value for name, value in result.items()}))
        return
    for name, value in result.items():
        print(f"{name + '.cpu_seconds':28} {value:6.2f}")


if __name__ == "__main__":
    main()
