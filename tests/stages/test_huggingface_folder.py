"""Finding and reading a Hugging Face model on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autolabel.config.load import load_experiment
from autolabel.errors import WeightsError
from autolabel.models.huggingface import model_as_it_is
from autolabel.stages.huggingface_folder import folder_identity, folder_of, read_files, weight_files
from autolabel.store import InputDigests
from tests.helpers.experiments import experiment_toml
from tests.helpers.hf_folders import NAMES, build, save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("whole"), "segformer")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(WeightsError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_identity_is_of_the_bytes_that_are_used(folder: Path, tmp_path: Path) -> None:
    first = folder_identity(str(folder), InputDigests())
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert folder_identity(str(tmp_path / "elsewhere"), InputDigests()) == first
    (folder / "README.md").write_text("not used")
    assert folder_identity(str(folder), InputDigests()) == first
    (folder / "preprocessor_config.json").write_text('{"image_mean": 0.5}')
    second = folder_identity(str(folder), InputDigests())
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"tree"', '"shrub"'))
    assert len({first, second, folder_identity(str(folder), InputDigests())}) == 3
    assert model_as_it_is(read_files(str(folder)), NAMES, {"shrub": "tree"}).card.mean == (0.5, 0.5, 0.5)


def test_shards_are_put_together(folder: Path, tmp_path: Path) -> None:
    build("segformer").save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    names = weight_files(tmp_path / "shards")
    assert len(names) > 2
    assert names == sorted(names)
    whole, parts = (model_as_it_is(read_files(str(f)), NAMES, {}).model for f in (folder, tmp_path / "shards"))
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", "..", "", 7, None])
def test_an_index_cannot_lead_out_of_its_folder(folder: Path, name: object) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert "is no file beside it" in refused(lambda: read_files(str(folder)))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 1}', "[" * 100_000])
def test_an_index_that_is_none(folder: Path, text: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    assert "is no index of safetensors files" in refused(lambda: folder_identity(str(folder), InputDigests()))


def test_a_shard_that_is_gone(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    assert "model-00001-of-00002.safetensors: cannot be read: No such file" in refused(
        lambda: folder_identity(str(folder), InputDigests())
    )


def test_pickles_are_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    said = refused(lambda: read_files(str(folder)))
    assert "holds pytorch_model.bin, and opening that could run a stranger's code; save it as safetensors" in said
    (folder / "pytorch_model.bin").unlink()
    assert "holds no model.safetensors; give a folder written by save_pretrained" in refused(
        lambda: read_files(str(folder))
    )


def test_a_folder_without_a_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "config.json: cannot be read" in refused(lambda: read_files(str(folder)))
    assert "config.json: cannot be read" in refused(lambda: folder_identity(str(folder), InputDigests()))


def test_hub_ids_come_from_the_local_cache_only(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--nvidia--segformer-tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(saved, repository / "snapshots" / ("0" * 40))
    assert folder_identity("nvidia/segformer-tiny", InputDigests()) == folder_identity(str(saved), InputDigests())
    for name in ("nvidia/segformer-large", "./nvidia/segformer-tiny", "a//b", "a\nb"):
        said = refused(lambda name=name: folder_of(name))
        assert "is neither a folder nor in the local Hugging Face cache; nothing is downloaded here" in said


def test_a_relative_folder_lies_beside_the_experiment_and_a_hub_id_stays(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(teacher={"huggingface": "model"}))
    assert load_experiment(file).teacher.huggingface == str(folder)
    assert load_experiment(file, ["teacher.huggingface=nvidia/b0"]).teacher.huggingface == "nvidia/b0"
    assert load_experiment(file, [f"student.huggingface={folder}"]).student.huggingface == str(folder)
