"""`predict` with a tiny network, in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner, Result
from PIL import Image

from autolabel.cli.main import cli
from autolabel.config.networks import ModelConfig
from autolabel.models import WeightsCard, build_model
from autolabel.models.checkpoint import weights_to_bytes


def tiny_weights(folder: Path) -> Path:
    """A network of two classes, a and b."""
    torch.manual_seed(0)
    table = ModelConfig(trunk="hrnet_tiny", head_channels=8, key_channels=4, attention_channels=4)
    file = folder / "weights.safetensors"
    file.write_bytes(weights_to_bytes(build_model(table, 2), WeightsCard(table=table, class_names=("a", "b"))))
    return file


def predict(weights: Path, *args: object) -> Result:
    options = ["predict", "--teacher", weights, "--scales", "1.0", "-q", *args]
    result = CliRunner().invoke(cli, [str(option) for option in options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(result: Result, code: int) -> str:
    assert (result.exit_code, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def write_image(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(file)
    return file


def results(out: Path) -> set[str]:
    """The images below a folder; the legend of a label set is left out."""
    images = (file for file in out.rglob("*.*") if file.suffix in (".png", ".webp") and file.is_file())
    return {file.relative_to(out).as_posix() for file in images} - {"legend.png"}
