"""`epochs = 0`: weights of ours label as they are, without a training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autolabel.config.networks import ModelConfig
from autolabel.models import WeightsCard, build_model
from autolabel.models.checkpoint import weights_to_bytes
from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY, Tiny, call, call_json

pytestmark = pytest.mark.xdist_group("tiny")


@pytest.mark.slow
def test_weights_give_the_codes_that_their_training_gave(tiny: Tiny, tmp_path: Path) -> None:
    weights = tiny.data("teacher") / "weights.safetensors"
    file = tmp_path / "tiny.toml"
    file.write_text(experiment_toml(TINY, teacher={"weights": str(weights)}))
    options = ["--work", tmp_path / "w", "--until", "infer", "-q", "--set", "teacher.epochs=0"]
    call_json("run", file, *options)
    (teacher,) = (tmp_path / "w" / "artefacts" / "teacher").iterdir()
    (infer,) = (tmp_path / "w" / "artefacts" / "infer").iterdir()
    assert (teacher / "data" / "weights.safetensors").read_bytes() == weights.read_bytes()
    assert json.loads((teacher / "manifest.json").read_text())["meta"]["trained_on"] == "unknown data"
    names = sorted(shard.name for shard in tiny.data("infer").glob("*.h5"))
    assert names
    for name in names:
        assert (infer / "data" / name).read_bytes() == (tiny.data("infer") / name).read_bytes()


def test_weights_for_other_classes_are_refused(tmp_path: Path) -> None:
    table = ModelConfig(trunk="hrnet_tiny", head_channels=8, key_channels=4, attention_channels=4)
    card = WeightsCard(table=table, class_names=("road", "sky"))
    (tmp_path / "weights.safetensors").write_bytes(weights_to_bytes(build_model(table, 2), card))
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(TINY, teacher={"weights": "weights.safetensors"}))
    result = call("run", file, "--work", tmp_path / "w", "-q", "--set", "teacher.epochs=0")
    assert "is for the classes road, sky; train it (epochs above 0), or take weights" in result.stderr
    assert result.exit_code == 3
