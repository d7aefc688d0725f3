"""weights = "hf:OWNER/NAME" and huggingface = "OWNER/NAME" after a fetch: offline, checked, with licence and source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from autolabel.config.load import load_experiment
from autolabel.config.networks import TeacherConfig
from autolabel.errors import AutolabelError
from autolabel.models import network_from_bytes, weights_from_bytes
from autolabel.models.pretrained import origin
from autolabel.models.published.detect import trunk_layouts
from autolabel.stages.initial_model import InitialModel, load_initial_model
from autolabel.stages.train import identity as key_of
from autolabel.store import InputDigests
from tests.helpers.experiments import NARROW, experiment_toml
from tests.helpers.hf_folders import NAMES, save
from tests.helpers.hub import Hub
from tests.hub.conftest import trunk_file
from tests.stages.tiny_pipeline import TINY, call, call_json

TRUNK, NETWORK = "someone/tiny", "someone/segformer"
TIMM = {"config.json": b'{"architecture": "hrnet_tiny"}'}


def teacher(**settings: Any) -> TeacherConfig:
    return TeacherConfig.model_validate_json(json.dumps(settings))


def with_trunk(weights: str, trunk: str = "hrnet_tiny") -> TeacherConfig:
    return teacher(weights=weights, model={"trunk": trunk, **NARROW})


@pytest.fixture
def trunk(hub: Hub) -> dict[str, Any]:
    """The record of a small trunk that was fetched."""
    hub.add(
        TRUNK, {**TIMM, "model.safetensors": trunk_file("hrnet_tiny")}, {"license": "mit", "datasets": "imagenet-1k"}
    )
    return call_json("fetch", TRUNK)


@pytest.fixture
def network(hub: Hub, tmp_path: Path) -> dict[str, Any]:
    folder = save(tmp_path / "saved", "segformer")
    hub.add(NETWORK, {file.name: file.read_bytes() for file in folder.iterdir()}, {"license": "other"})
    return call_json("fetch", NETWORK, "--accept-licence")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, a connection fails the test."""

    def connect(*args: object) -> None:
        raise AssertionError("a connection")

    return lambda: monkeypatch.setattr("socket.socket.connect", connect)


def identity(settings: TeacherConfig) -> dict[str, Any]:
    return key_of(settings, InputDigests())


def refused(settings: TeacherConfig, load: Callable[[TeacherConfig], object] = identity) -> str:
    with pytest.raises(AutolabelError) as caught:
        load(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def start(settings: TeacherConfig) -> InitialModel:
    return load_initial_model(settings, NAMES)


@pytest.mark.slow
def test_timms_hrnet_w48_starts_the_default_trunk(hub: Hub, offline: Callable[[], None]) -> None:
    hub_id, file = "timm/hrnet_w48.ms_in1k", trunk_file("hrnet_w48")
    hub.add(hub_id, {"config.json": b'{"architecture": "hrnet_w48"}', "model.safetensors": file}, {"license": "mit"})
    assert call_json("fetch", hub_id)["setting"] == "weights"
    offline()
    initial = start(teacher(weights=f"hf:{hub_id}", model=NARROW))
    assert initial.model.table["trunk"] == "hrnet_w48"
    theirs, (layout, *_) = safetensors.torch.load(file), trunk_layouts("hrnet_w48")
    ours = initial.model.state_dict()
    assert all(torch.equal(ours[key], theirs[name].to(ours[key].dtype)) for key, name in layout.names.items())
    assert origin(initial.card.extra).startswith(f"ImageNet weights of {hub_id}@")
    assert origin(initial.card.extra).endswith(f", MIT, https://huggingface.co/{hub_id}")


def test_the_recorded_digest_and_the_licence_enter_the_key(hub: Hub, trunk: dict, offline: Callable[[], None]) -> None:
    def key() -> object:
        return identity(with_trunk(f"hf:{TRUNK}"))["weights"]

    first = key()
    hub.repositories[TRUNK].card = {"license": "apache-2.0", "datasets": "imagenet-1k"}
    Path(trunk["folder"], "model.safetensors").unlink()
    call_json("fetch", TRUNK)
    licensed = key()
    commit = hub.repositories[TRUNK].add({**TIMM, "model.safetensors": trunk_file("hrnet_tiny", seed=1)})
    call_json("fetch", TRUNK, "--revision", commit)
    offline()
    assert len({first, licensed, key()}) == 3


def test_weights_that_were_not_fetched(hub: Hub, tmp_path: Path) -> None:
    assert refused(with_trunk("hf:timm/hrnet_w48.ms_in1k")) == (
        "teacher.weights: timm/hrnet_w48.ms_in1k has not been fetched; autolabel fetch timm/hrnet_w48.ms_in1k"
    )
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(TINY, teacher={"weights": "hf:timm/hrnet_w48.ms_in1k"}))
    result = call("run", file, "--work", tmp_path / "w")
    assert result.exit_code == 2
    assert "teacher.weights: timm/hrnet_w48.ms_in1k has not been fetched; autolabel fetch" in result.stderr
    assert not list((tmp_path / "w").rglob("COMMIT")), "before the first step"
    said = refused(teacher(huggingface="nobody/nothing"))
    assert "nothing is downloaded here: autolabel fetch nobody/nothing" in said
    assert hub.requests == [], "a run never asks the hub"


def test_an_interrupted_fetch_is_no_fetch(hub: Hub, trunk: dict) -> None:
    (Path(trunk["folder"]).parents[1] / "fetched.json").unlink()  # it is written last
    assert "has not been fetched; autolabel fetch someone/tiny" in refused(with_trunk(f"hf:{TRUNK}"))


def test_bytes_that_changed_since(hub: Hub, trunk: dict) -> None:
    file, settings = Path(trunk["folder"], "model.safetensors"), with_trunk(f"hf:{TRUNK}")
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    said = refused(settings, start)
    assert f"{file}: is not the file that was fetched: its sha256 differs; autolabel fetch {TRUNK}" in said
    file.unlink()
    assert f"{file}: is missing from the cache; autolabel fetch {TRUNK}" in refused(settings)


@pytest.mark.slow
def test_a_network_that_changed_since(hub: Hub, network: dict) -> None:
    file = Path(network["folder"], "model.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    said = refused(teacher(huggingface=NETWORK))
    assert f"{file}: is not the file that was fetched: its sha256 differs; autolabel fetch {NETWORK}" in said


def test_each_setting_takes_its_own(hub: Hub, trunk: dict, network: dict) -> None:
    assert refused(teacher(huggingface=TRUNK)) == (
        f'{TRUNK}: {TRUNK} is a trunk alone, no network of the transformers library; write weights = "hf:{TRUNK}"'
    )
    assert refused(with_trunk(f"hf:{NETWORK}")) == (
        f"teacher.weights: {NETWORK} is a whole network of the transformers library, no trunk; "
        f'write huggingface = "{NETWORK}"'
    )


def test_another_trunk(hub: Hub, trunk: dict) -> None:
    said = refused(with_trunk(f"hf:{TRUNK}", trunk="resnet_tiny"), start)
    assert "hf:someone/tiny: holds trunk 'hrnet_tiny'; the experiment needs 'resnet_tiny'" in said


@pytest.mark.parametrize("value", ["hf:", "hf:a b/c", "hf:../x", "hf:a/b/c"])
def test_values_that_are_no_ids(tmp_path: Path, value: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(TINY, teacher={"weights": value}))
    with pytest.raises(AutolabelError, match=r"weights of the hub are named hf:OWNER/NAME; change it$"):
        load_experiment(file)


def test_a_file_of_that_name_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(TINY, teacher={"weights": "./hf:x"}))
    assert load_experiment(file).teacher.weights == tmp_path / "hf:x"
    assert load_experiment(file, ["teacher.weights=hf:a/b"]).teacher.weights == "hf:a/b"


@pytest.mark.slow
def test_licence_and_source_go_wherever_the_weights_go(
    hub: Hub, trunk: dict, tmp_path: Path, offline: Callable[[], None]
) -> None:
    offline()
    file, work = tmp_path / "x.toml", tmp_path / "w"
    file.write_text(experiment_toml(TINY, teacher={**TINY["teacher"], "weights": f"hf:{TRUNK}"}))
    result = call("run", file, "--work", work)
    assert result.exit_code == 0, result.output
    artefact = next((work / "artefacts/teacher").iterdir())
    _, card = weights_from_bytes((artefact / "data/weights.safetensors").read_bytes(), "w")
    name = f"{TRUNK}@{trunk['commit']}"
    about = {"on": "imagenet-1k", "hub": name, "licence": "MIT", "source": f"https://huggingface.co/{TRUNK}"}
    assert card.extra["pretrained"] == about | {"sha256": trunk["files"][1]["sha256"]}
    note = f"started from imagenet-1k weights of {name}, MIT, https://huggingface.co/{TRUNK}"
    page = next((work / "artefacts/report").iterdir()) / "data/report.html"
    assert page.read_text().count(note) == 2, "of the teacher and of its evaluation"
    out = tmp_path / "handed over"
    assert call("export", "model", artefact, "--out", out, "--format", "safetensors", "-q").exit_code == 0
    assert json.loads((out / "config.json").read_text())["trained"]["pretrained"]["licence"] == "MIT"


@pytest.mark.slow
def test_a_network_of_the_hub_names_its_licence_too(
    hub: Hub, network: dict, tmp_path: Path, offline: Callable[[], None]
) -> None:
    offline()
    initial = start(teacher(huggingface=NETWORK, epochs=0))
    assert origin(initial.card.extra) == (
        f"weights of {NETWORK}@{network['commit']}, other, https://huggingface.co/{NETWORK}"
    )
    same = start(teacher(huggingface=network["folder"], epochs=0))
    assert origin(same.card.extra) == "", "a folder has no record"
    keys = {str(identity(teacher(huggingface=name))["huggingface"]) for name in (NETWORK, network["folder"])}
    assert len(keys) == 2, "the licence is a part of the artefact"
    from autolabel.models.checkpoint import network_to_bytes

    _, card = network_from_bytes(network_to_bytes(initial.model, initial.card), "w")
    assert card.extra == initial.card.extra
