"""A run on a folder with names that people use: its labels carry these names, in train ids or the data set's own."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.store import Artefact
from tests.helpers.experiments import NARROW, ONE_CORE, experiment_toml
from tests.stages.tiny_pipeline import call, call_json

pytestmark = pytest.mark.slow

CLASSES = {"names": ["road", "car", "sky"], "ids": [2, 0, 1], "ignored_ids": [7, 255]}  # every train id is another's id
LABELLED = ["one", "deep/two", "three"]
TO_LABEL = ["front cam/straße", "front cam/Straße", "a b/c d/日本 1", "e\u0301", "rear/img.v2", "front/x", "rear/x"]
MIRRORED = {name: f"{name}.png" for name in TO_LABEL if "stra" not in name.lower()}
TRAINING = {
    "crop": [32, 32],
    "batch": 2,
    "epochs": 1,
    "epoch_images": 4,
    "model": {"trunk": "hrnet_tiny", **NARROW},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    root = folder / "my data"
    for name in (*LABELLED, *TO_LABEL):
        image = root / "images" / f"{name}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (33, 47, 3), np.uint8)).save(image)
    for name in LABELLED:
        mask = root / "masks" / f"{name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.choice([0, 1, 2, 7, 255], (33, 47)).astype(np.uint8)).save(mask)
    (root / "classes.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in CLASSES.items()))
    text = experiment_toml(
        name="names",
        data={"source": "folder", "root": "my data"},
        teacher=TRAINING,
        infer={"scales": [1.0], "chunk": 3},
        label={"threshold": 0.3, "weights": True},
        student=TRAINING,
        runtime=ONE_CORE,
    )
    (folder / "names.toml").write_text(text)
    return folder


def run(project: Path, label_ids: str) -> dict[str, Artefact]:
    options = ("--set", f"label.ids='{label_ids}'", "--work", project / "work")
    call_json("run", project / "names.toml", *options, "-q")
    steps = call_json("status", project / "names.toml", *options)["stages"]
    return {step["name"]: Artefact.open(Path(step["path"])) for step in steps}


@pytest.fixture(scope="module")
def runs(project: Path) -> dict[str, dict[str, Artefact]]:
    return {label_ids: run(project, label_ids) for label_ids in ("train", "dataset")}


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        assert image.mode == "L"
        return np.array(image)


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_labels_have_the_names_of_their_images(runs: dict[str, dict[str, Artefact]]) -> None:
    for steps in runs.values():
        label = steps["label"]
        rows = table(label.data / "labels")
        assert {*rows} == {*TO_LABEL}
        assert {name: row["label"] for name, row in rows.items() if name in MIRRORED} == MIRRORED
        odd = {row["label"] for name, row in rows.items() if name not in MIRRORED}
        assert all(name.startswith("front cam/") and name.endswith(".png") and "~" in name for name in odd)
        assert len({name.casefold() for name in odd}) == 2
        files = {path.relative_to(label.data / "labels").as_posix() for path in (label.data / "labels").rglob("*.png")}
        assert files == {row["label"] for row in rows.values()}
        assert {*label.names("weights/")} == {f"weights/{file}" for file in files}


def test_the_two_forms_of_ids_are_one_label(runs: dict[str, dict[str, Artefact]]) -> None:
    """Pixel by pixel, in the table, and for the student: it trains on the same labels to the same weights."""
    train, own = runs["train"], runs["dataset"]
    assert (train["label"].meta["ids"], own["label"].meta["ids"]) == ("train", "dataset")
    statement = json.loads((own["label"].data / "classes.json").read_text())
    assert (statement["label_ids"], statement["values"], statement["ignore"]) == ("dataset", CLASSES["ids"], 7)
    assert table(train["label"].data / "labels") == table(own["label"].data / "labels")
    values = np.array([*CLASSES["ids"], *[7] * 253], np.uint8)
    for row in table(own["label"].data / "labels").values():
        first, second = (pixels(steps["label"].data / "labels" / row["label"]) for steps in (train, own))
        np.testing.assert_array_equal(values[first], second)
        assert float(row["kept"]) == pytest.approx(np.mean(first != 255), abs=1e-6)
        for index, name in enumerate(CLASSES["names"]):
            assert float(row[f"class:{name}"]) == pytest.approx(np.mean(first == index), abs=1e-6)
    assert train["label"].digest != own["label"].digest
    assert train["student"].read("weights.safetensors") == own["student"].read("weights.safetensors")
    assert train["audit"].read("audit.json") != b""


def test_cut_writes_the_labels_of_the_run(project: Path, runs: dict[str, dict[str, Artefact]], tmp_path: Path) -> None:
    class_file = project / "my data" / "classes.toml"
    for label_ids, steps in runs.items():
        options = ("--threshold", 0.3, "--ids", label_ids, "--classes", class_file, "--out", tmp_path / label_ids, "-q")
        assert call("cut", steps["infer"].path, *options).exit_code == 0
        for name in [*steps["label"].names("labels/"), "classes.json", "legend.png"]:
            assert (tmp_path / label_ids / name).read_bytes() == steps["label"].read(name), name
    refused = call("cut", runs["train"]["infer"].path, "--threshold", 0.3, "--ids", "dataset", "--out", tmp_path / "x")
    assert (refused.exit_code, "name its class file with --classes" in refused.stderr) == (2, True)


@pytest.mark.parametrize("label_ids", ["train", "dataset"])
def test_a_corrected_label_comes_home_as_a_mask(
    project: Path, runs: dict[str, dict[str, Artefact]], tmp_path: Path, label_ids: str
) -> None:
    """Every id is also the id of another class, so that only the statement can tell."""
    shutil.copytree(project / "my data", tmp_path / "my data")
    shutil.copytree(runs[label_ids]["label"].data / "labels", tmp_path / "my data" / "corrected")
    text = (project / "names.toml").read_text().replace('root = "my data"', 'root = "my data"\nmasks = "corrected"')
    (tmp_path / "names.toml").write_text(text)
    row = table(tmp_path / "my data" / "corrected")["front cam/straße"]
    file = tmp_path / "my data" / "corrected" / row["label"]
    car = 1 if label_ids == "train" else 0
    corrected = pixels(file)
    corrected[:5] = car
    Image.fromarray(corrected).save(file)
    call_json("manifest", tmp_path / "names.toml", "--work", tmp_path / "work", "-q")
    (made,) = (tmp_path / "work" / "artefacts" / "manifest").iterdir()
    from autolabel.artifacts import read_manifest
    from autolabel.data.loaders import load_label

    manifest = read_manifest(Artefact.open(made))
    assert {label.image_id for label in manifest.labels} == {*TO_LABEL}
    for name in TO_LABEL:
        expected = pixels(runs["train"]["label"].data / "labels" / table(file.parents[1])[name]["label"])
        if name == "front cam/straße":
            expected[:5] = 1
        found = manifest.label(name, "fine")
        assert found is not None
        np.testing.assert_array_equal(
            load_label(found, {"source": tmp_path / "my data"}, manifest.classes), expected, err_msg=name
        )
