"""From one data set's classes to another's, as from Mapillary Vistas to Cityscapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autolabel.config.networks import ModelConfig
from autolabel.models import WeightsCard, build_model
from autolabel.models.checkpoint import weights_from_bytes, weights_to_bytes
from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY, call

pytestmark = pytest.mark.slow

TABLE = ModelConfig(trunk="hrnet_tiny", head_channels=8, key_channels=4, attention_channels=4)


def test_all_but_the_class_layers_is_taken_over_and_said(tmp_path: Path) -> None:
    file, weights = tmp_path / "x.toml", tmp_path / "vistas.safetensors"
    file.write_text(experiment_toml(TINY))
    source = build_model(TABLE, 5)
    weights.write_bytes(weights_to_bytes(source, WeightsCard(table=TABLE, class_names=tuple("abcde"))))
    changes = [f"teacher.weights='{weights}'", "teacher.lr=1e-30", "teacher.epoch_images=2", "teacher.ema=0.0"]
    options = [word for change in changes for word in ("--set", change)]
    result = call("run", file, "--work", tmp_path / "w", "--until", "teacher", *options)
    assert result.exit_code == 0, result.output
    says = f"teacher: {weights} knows other classes: the layers that end in class logits begin afresh"
    assert says in result.stderr.splitlines()
    artefact = next((tmp_path / "w/artefacts/teacher").iterdir())
    assert json.loads((artefact / "log/metrics.jsonl").read_text().splitlines()[0])["kind"] == "note"
    trained, _ = weights_from_bytes((artefact / "data/weights.safetensors").read_bytes(), "w")
    parameters = dict(trained.named_parameters())
    fresh = {
        name
        for name, value in source.named_parameters()
        if value.shape != parameters[name].shape or not torch.allclose(value, parameters[name], rtol=0, atol=1e-20)
    }
    assert fresh == {f"head.{name}.{part}" for name in ("classifier", "aux_classifier") for part in ("weight", "bias")}
