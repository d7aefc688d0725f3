"""A result never rests on other input bytes than its key names, whatever size and times of the files say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.artifacts import read_manifest
from autolabel.config.networks import ModelConfig, TeacherConfig
from autolabel.data import build as manifest_build
from autolabel.errors import WeightsError
from autolabel.flow.graph import Node
from autolabel.flow.keys import key_document
from autolabel.models import WeightsCard, build_model
from autolabel.models.checkpoint import weights_to_bytes
from autolabel.stages import TEACHER
from autolabel.stages.huggingface_folder import folder_identity, read_files
from autolabel.stages.initial_model import load_initial_model
from autolabel.store import Artefact, InputDigests
from tests.helpers.experiments import NARROW, ONE_CORE, experiment_toml
from tests.stages.tiny_pipeline import call, call_json

CLASSES = ("lawn", "path")
NETWORK = ModelConfig(trunk="hrnet_tiny", **NARROW)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)


class Data:
    """A folder of uncompressed TIFFs, which keep their size when a pixel changes."""

    def __init__(self, folder: Path) -> None:
        self.root, self.file, self.work = folder / "data", folder / "x.toml", folder / "work"
        for name in ("images", "masks"):
            (self.root / name).mkdir(parents=True)
        (self.root / "classes.toml").write_text('names = ["lawn", "path"]\n')
        for number in range(4):
            self.put(number, number)
            mask = np.full((32, 48), number % 2, np.uint8)
            Image.fromarray(mask).save(self.root / f"masks/{number}.png", compress_level=0)
        table = {"source": "folder", "root": str(self.root), "val_share": 0.0}
        self.file.write_text(experiment_toml({"runtime": ONE_CORE}, data={**table, "seed": None}))

    def put(self, number: int, seed: int) -> None:
        Image.fromarray(image(seed)).save(self.root / f"images/{number}.tif")

    def manifest(self, *options: str) -> dict:
        return call_json("manifest", self.file, "--work", self.work, "-q", *options)

    def state(self) -> str:
        steps = call_json("status", self.file, "--work", self.work)["stages"]
        return next(step["state"] for step in steps if step["name"] == "manifest")

    def sha256(self) -> dict[str, str]:
        step = call_json("status", self.file, "--work", self.work)["stages"][0]
        return {row.path: row.sha256 for row in read_manifest(Artefact.open(Path(step["path"]))).images}


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


def keep_times(file: Path, change: Callable[[], None]) -> None:
    found = file.stat()
    change()
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("keep", [False, True])
def test_an_edit_of_the_same_size_makes_the_step_stale(data: Data, keep: bool) -> None:
    data.manifest()
    assert data.state() == "fresh"
    before, file = data.sha256(), data.root / "images/1.tif"
    size = file.stat().st_size
    keep_times(file, lambda: data.put(1, 77)) if keep else data.put(1, 77)
    assert file.stat().st_size == size
    assert data.state() == "stale"
    assert data.manifest()["made"] == ["manifest"]
    changed = {path for path, digest in data.sha256().items() if before[path] != digest}
    assert changed == {"images/1.tif"}
    data.put(1, 1)
    assert data.manifest()["made"] == [], "with the first bytes the first artefact is up to date again"


def test_bytes_that_change_behind_equal_times_show_on_request(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that rots: no time tells. `verify --inputs` reads, and --rehash makes a new manifest."""
    monkeypatch.setattr("autolabel.store.input_digests._RACY_NS", -(10**18))
    size = (data.root / "images/1.tif").stat().st_size
    monkeypatch.setattr("autolabel.store.input_digests._stamp_of", lambda found: [found.st_size, 1, 1, 1])
    data.manifest()
    data.put(1, 77)
    assert (data.root / "images/1.tif").stat().st_size == size
    assert data.state() == "fresh"
    assert call("verify", data.file, "--work", data.work, "--full").exit_code == 0
    found = call("verify", data.file, "--work", data.work, "--inputs")
    assert found.exit_code == 3
    assert "images/1.tif: its bytes differ" in found.stdout
    assert "8 input file(s) read, 1 changed" in found.stdout
    assert "--rehash" in found.stderr
    assert data.manifest("--rehash")["made"] == ["manifest"]
    assert call("verify", data.file, "--work", data.work, "--inputs").exit_code == 0


def test_verify_names_missing_and_unreadable_inputs(data: Data) -> None:
    data.manifest()
    (data.root / "images/0.tif").unlink()
    (data.root / "images/0.tif").mkdir()
    (data.root / "masks/3.png").unlink()
    os.mkfifo(data.root / "masks/3.png")
    found = call_json_of_failure("verify", data.file, "--work", data.work, "--inputs")
    assert {Path(row["file"]).name: row["problem"] for row in found["changed"]} == {
        "0.tif": "is missing",
        "3.png": "is missing",
    }


def call_json_of_failure(*args: object) -> dict:
    import json

    result = call(*args, "--json")
    assert result.exit_code == 3, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("what", ["image", "mask", "list"])
def test_data_that_changes_between_key_and_build_is_no_manifest(
    data: Data, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The key is made, then the bytes are read: what lies between must not be described under that key."""
    changes = {
        "image": lambda: data.put(2, 99),
        "mask": lambda: Image.fromarray(np.ones((32, 48), np.uint8)).save(data.root / "masks/2.png", compress_level=0),
        "list": lambda: (data.root / "classes.toml").write_text('names = ["lawn", "road"]\n'),
    }
    real = manifest_build.build

    def change_first(*args: object, **options: object) -> object:
        changes[what]()
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(manifest_build, "build", change_first)
        result = call("manifest", data.file, "--work", data.work, "-q")
    assert result.exit_code == 3
    [line] = result.stderr.splitlines()
    assert "changed while the manifest was made; run the same command again" in line
    assert {"image": "images/2.tif", "mask": "masks/2.png", "list": "the list of files"}[what] in line
    assert data.state() != "fresh"
    assert data.manifest()["made"] == ["manifest"]


def weights(names: tuple[str, ...], seed: int) -> bytes:
    import torch

    torch.manual_seed(seed)
    return weights_to_bytes(build_model(NETWORK, len(names)), WeightsCard(table=NETWORK, class_names=names))


def key(settings: TeacherConfig) -> dict:
    return key_document(Node("teacher", TEACHER, settings, 0, {}), {}, InputDigests())["settings"]


@pytest.fixture
def teacher(tmp_path: Path) -> TeacherConfig:
    file = tmp_path / "w.safetensors"
    file.write_bytes(weights(CLASSES, 1))
    return TeacherConfig(weights=file, epochs=0, model=NETWORK)


def test_weights_count_by_their_bytes(teacher: TeacherConfig, tmp_path: Path) -> None:
    """Not by name, place, size or time: a copy is the same, other bytes under the same name are not."""
    first, file = key(teacher), teacher.weights
    assert isinstance(file, Path)
    copy = tmp_path / "elsewhere" / "other.safetensors"
    copy.parent.mkdir()
    shutil.copy(file, copy)
    assert key(teacher.model_copy(update={"weights": copy})) == first
    size = file.stat().st_size
    keep_times(file, lambda: file.write_bytes(weights(CLASSES, 2)) and None)
    assert file.stat().st_size == size
    assert key(teacher) != first


def test_weights_of_other_bytes_than_the_key_are_refused(teacher: TeacherConfig) -> None:
    identity, file = key(teacher), teacher.weights
    assert isinstance(file, Path)
    load_initial_model(teacher, CLASSES, identity)
    file.write_bytes(weights(CLASSES, 2))
    with pytest.raises(WeightsError, match="changed since the run began"):
        load_initial_model(teacher, CLASSES, identity)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_hugging_face_folder_of_other_bytes_than_the_key_is_refused(tmp_path: Path, name: str) -> None:
    for file in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / file).write_bytes(b"first")
    identity = folder_identity(str(tmp_path), InputDigests())
    assert read_files(str(tmp_path), identity).config == b"first"
    later = read_files(str(tmp_path), identity)
    (tmp_path / name).write_bytes(b"other")
    with pytest.raises(WeightsError, match="changed since the run began"):
        read_files(str(tmp_path), identity)
    if name == "model.safetensors":  # read when it is needed, after the other files
        with pytest.raises(WeightsError, match="changed since the run began"):
            later.weights[0]()
