"""Hugging Face networks: those with logits per class are exported, the others refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from autolabel.cli.main import cli
from tests.helpers import hf_folders


def call(*args: object) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.slow
def test_segformer_is_exported_from_its_folder(tmp_path: Path) -> None:
    """The exported weights file gives the same labels as the folder."""
    folder, out = hf_folders.save(tmp_path / "segformer", "segformer"), tmp_path / "out"
    result = call("export", "model", folder, "--out", out, "-q")
    assert result.exit_code == 0, result.stderr
    config = json.loads((out / "config.json").read_text())
    assert (config["title"], tuple(config["class_names"])) == ("SegFormer", hf_folders.NAMES)
    assert config["files"]["model.pt2"]["smallest_side"] == 64
    assert "SegFormer of the transformers library" in (out / "README.md").read_text()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 67, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    labels = []
    for number, teacher in enumerate((folder, out / "model.safetensors")):
        made = tmp_path / str(number)
        assert call("predict", "--teacher", teacher, tmp_path / "a.png", "--out", made, "--scales", "1").exit_code == 0
        labels.append(np.array(Image.open(made / "labels" / "a.png")))
    assert np.array_equal(*labels)
    assert len(np.unique(labels[0])) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "args", "says"),
    [
        ("mask2former", [], "Mask2Former networks give no logits per class and are not exported"),
        ("segformer", ["--scales", "0.5,1"], "SegFormer networks are exported at scale 1"),
    ],
)
def test_what_is_not_exported_is_refused(kind: str, args: list[str], says: str, tmp_path: Path) -> None:
    folder = hf_folders.save(tmp_path / "folder", kind)
    result = call("export", "model", folder, "--out", tmp_path / "out", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert not (tmp_path / "out").exists()
