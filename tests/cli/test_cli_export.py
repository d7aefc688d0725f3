"""`export model`: the folder it makes, its card's own instructions, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from autolabel.cli.main import cli
from autolabel.config.networks import ModelConfig
from autolabel.model_export import compare
from autolabel.models import WeightsCard, build_model
from autolabel.models.checkpoint import weights_to_bytes
from autolabel.store import open_draft

NAMES = ("road", "a|b*", "<c>\n")


def call(*args: object) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def weights_of(fusion: str) -> bytes:
    torch.manual_seed(0)
    table = ModelConfig(trunk="resnet_tiny", head="conv", fusion=fusion, key_channels=16, attention_channels=8)
    card = WeightsCard(table=table, class_names=NAMES, mean=(0.4, 0.5, 0.6), extra={"note": "tiny"})
    return weights_to_bytes(build_model(table, 3), card)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(weights_of("hierarchical"))
    return file


@pytest.mark.slow
def test_the_card_says_how_and_it_works(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    out = tmp_path / "made" / "out"
    result = call(
        "export", "model", weights, "--out", out, "--format", "safetensors,torch,onnx", "--size", "70x67",
        "--scales", "0.5,1", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    config = json.loads((out / "config.json").read_text())
    assert json.loads(result.stdout) == {"schema_version": 1, "out": str(out), **config}
    assert {file.name for file in out.iterdir()} == {*config["files"], "config.json", "README.md"}
    for name, file in config["files"].items():
        assert file["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
        assert all(difference["labels"] == 1 for difference in file["verified"])
    assert (out / "model.safetensors").read_bytes() == weights.read_bytes()
    assert (config["model"]["trunk"], config["class_names"], config["scales"]) == ("resnet_tiny", list(NAMES), [0.5, 1])
    card = (out / "README.md").read_text()
    assert config["weights_sha256"] in card
    assert "- note: tiny" in card
    assert "| 1 | a\\|b\\* |" in card

    monkeypatch.chdir(out)
    image = np.random.default_rng(0).integers(0, 256, (70, 67, 3), dtype=np.uint8)
    Image.fromarray(image).resize((670, 700)).save("image.jpg")
    Image.open("image.jpg").resize((67, 70)).save("small.png")
    assert (
        call("predict", "--teacher", "model.safetensors", "small.png", "--out", ".", "--scales", "0.5,1").exit_code == 0
    )
    expected = np.array(Image.open("labels/small.png"))
    program, onnx, load = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert (labels_of(program.replace("image.jpg", "small.png")) == expected).all()
    assert (labels_of(onnx) == expected).all()
    exec(load, names := {})
    assert names["card"].class_names == NAMES


def labels_of(snippet: str) -> np.ndarray:
    exec(snippet, names := {})
    return np.asarray(names["labels"])


@pytest.mark.slow
def test_an_artefact_says_what_it_was_trained_on(tmp_path: Path) -> None:
    draft = open_draft(tmp_path / "teacher", "0" * 16)
    draft.write("weights.safetensors", weights_of("single"))
    artefact = draft.commit(meta={"trained_on": "fine", "miou": 0.5}, provenance={})
    result = call("export", "model", artefact.path, "--out", tmp_path / "out", "--format", "safetensors", "-q")
    assert result.exit_code == 0, result.stderr
    assert "the weights as they are" in result.stdout
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- trained\\_on: fine\n" in card
    assert artefact.digest in card


@pytest.mark.slow
def test_a_form_that_differs_is_not_handed_over(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "TOLERANCE", -1.0)
    result = call("export", "model", weights, "--out", tmp_path / "out", "-q")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "model.pt2: differs from the network at 33x42" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == [weights.name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--format", "torch,tflite"], 2, "unknown format 'tflite'; known: safetensors, torch, onnx"),
        (["--format", ""], 2, "unknown format"),
        (["--format", "onnx"], 2, "onnx: needs the size of its images"),
        (["--size", "64x64"], 2, "--size: applies to ONNX models only"),
        (["--format", "onnx", "--size", "64"], 2, "not of the form HEIGHTxWIDTH"),
        (["--scales", "0.5"], 2, "1.0 among them"),
        (["--scales", "0.5,1"], 2, "do not fit explicit fusion"),
        (["--out", "."], 2, "exists already"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    args: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("explicit.safetensors").write_bytes(weights_of("explicit"))
    result = call("export", "model", "explicit.safetensors", *(args if "--out" in args else ["--out", "out", *args]))
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in " ".join(result.stderr.split())
    assert [file.name for file in Path().iterdir()] == ["explicit.safetensors"]


def test_weights_are_checked_first(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nothing")
    result = call("export", "model", tmp_path / "x", "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "not a safetensors file" in result.stderr
    assert call("export", "model", "--help").exit_code == 0
