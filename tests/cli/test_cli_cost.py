"""`cost`: what it counts by default, of an experiment, of weights, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from autolabel.cli.main import cli
from autolabel.config.networks import ModelConfig
from autolabel.models import WeightsCard, build_model
from autolabel.models.checkpoint import weights_to_bytes
from autolabel.models.weights_file import pack
from autolabel.resources import resource


def cost(*args: object) -> Result:
    result = CliRunner().invoke(cli, ["cost", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def counted(*args: object) -> dict[str, Any]:
    return json.loads(cost(*args, "--json").stdout)


@pytest.mark.slow
def test_every_fusion_is_set_against_a_single_scale() -> None:
    found = counted("--trunk", "resnet_tiny", "--head", "deeplabv3plus", "--size", "64x128", "--classes", 3)
    assert (found["size"], found["classes"]) == ([64, 128], 3)
    relative = {fusion: row["training"]["relative"]["trunk"] for fusion, row in found["fusions"].items()}
    assert relative == {"single": 1, "average": 1, "explicit": 5.25, "hierarchical": 1.25}
    hierarchical = found["fusions"]["hierarchical"]
    assert hierarchical["training"]["relative"]["total"] > 1.25
    assert hierarchical["labelling"]["scales"] == [0.5, 1, 2]
    assert hierarchical["labelling"]["skipped"] == 16 * hierarchical["training"]["skipped"] / 4


@pytest.mark.slow
def test_the_table_for_people() -> None:
    lines = cost(
        "--trunk", "resnet_tiny", "--head", "conv", "--size", "64x64", "--scales", "0.25,1"
    ).stdout.splitlines()
    rows = [line.split() for line in lines]
    assert [row[0] for row in rows if row][2:7] == ["training", "single", "average", "explicit", "hierarchical"]
    assert [row[-2] for row in rows if row and row[-1].endswith("x")][:4] == ["1.00x", "1.00x", "5.25x", "1.25x"]
    assert ["explicit", "-"] in rows  # has not learnt to weigh these scales
    assert "the highest scale's attention is never read" in lines[-1]


@pytest.mark.slow
def test_an_experiment_brings_its_teacher_crop_and_scales(tmp_path: Path) -> None:
    file = tmp_path / "demo.toml"
    file.write_bytes(resource("configs", "demo.toml"))
    found = counted(file)
    assert found["trunk"] == "efficientnet_lite0"
    assert list(found["fusions"]) == ["single", "average"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    table = ModelConfig(
        trunk="resnet_tiny", head="conv", fusion="explicit", softmax=True, key_channels=8, attention_channels=4
    )
    file = tmp_path / "weights.safetensors"
    file.write_bytes(weights_to_bytes(build_model(table, 2), WeightsCard(table=table, class_names=("a", "b"))))
    return file


@pytest.mark.slow
def test_weights_bring_their_network_and_classes(weights: Path) -> None:
    found = counted(weights, "--size", "64x64")
    assert (found["trunk"], found["head"], found["classes"]) == ("resnet_tiny", "conv", 2)
    assert list(found["fusions"]) == ["single", "explicit"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--trunk", "hrnet"], 2, "unknown trunk 'hrnet'"),
        (["--trunk", "hrnet_tiny", "--head", "deeper"], 2, "heads for this trunk: conv, ocr"),
        (["--fusion", "none"], 2, "unknown fusion 'none'"),
        (["nowhere"], 3, "nowhere: cannot be read"),
        (["--size", "64"], 2, "'64' is not of the form HEIGHTxWIDTH"),
        (["--size", "0x64"], 2, "sides up to 32768"),
        (["--size", "٣x64"], 2, "not of the form"),
        (["--scales", "0.5"], 2, "1.0 among them"),
        (["x.toml", "--head", "ocr"], 2, "leave --head out"),
    ],
)
def test_what_is_wrong_is_said(args: list[str], code: int, says: str) -> None:
    result = cost(*args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in " ".join(result.stderr.split())


def test_networks_of_others_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    card = {"class_names": ["a"], "huggingface": {"model_type": "segformer"}, "train_ids": [0]}
    file = tmp_path / "weights.safetensors"
    file.write_bytes(pack({"x": torch.zeros(1)}, json.dumps(card)))
    for target, says in ((tmp_path, "is a Hugging Face network"), (file, "holds a Hugging Face network")):
        result = cost(str(target))
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{says}; cost counts autolabel's own networks only" in result.stderr
