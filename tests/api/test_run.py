"""From a folder of images to labels in Python: experiment, run, label set, codes."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

import autolabel
from autolabel import errors
from tests.cli.test_init import call
from tests.helpers.experiments import NARROW, ONE_CORE
from tests.stages.tiny_pipeline import call_json

CLASSES = 'names = ["road", "car"]\nids = [7, 3]\nignored_ids = [0]\n'
TRAINING = {"crop": [32, 32], "batch": 2, "epochs": 1, "epoch_images": 4, "model": {"trunk": "hrnet_tiny", **NARROW}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("api") / "my data"
    rng = np.random.default_rng(0)
    for number in range(6):
        file = root / "images" / f"city {number % 2}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(file)
        if number < 3:
            mask = root / "masks" / file.parent.name / f"{number}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.choice([7, 3, 0], (32, 48)).astype(np.uint8)).save(mask)
    (root / "classes.toml").write_text(CLASSES)
    return root


@pytest.fixture(scope="module")
def experiment(data: Path) -> autolabel.Experiment:
    return autolabel.Experiment(
        name="api",
        data={"source": "folder", "root": str(data)},
        teacher=TRAINING,
        infer={"scales": [1.0], "chunk": 2},
        label={"threshold": 0.5},
        runtime=ONE_CORE,
    )


@pytest.fixture(scope="module")
def result(experiment: autolabel.Experiment, data: Path) -> autolabel.RunResult:
    return autolabel.run(experiment, until="label", work=data.parent / "work")


@pytest.fixture(scope="module")
def labels(result: autolabel.RunResult) -> autolabel.LabelSet:
    assert result.labels is not None
    return result.labels


def test_a_run_prints_nothing_and_says_what_it_made(
    experiment: autolabel.Experiment, result: autolabel.RunResult, capfd: pytest.CaptureFixture[str]
) -> None:
    assert result.made == ("manifest", "teacher", "infer", "label")
    again = autolabel.run(experiment, until="label", work=result.work, device="cpu", jobs=1)
    assert (again.made, again.artefacts) == ((), result.artefacts)
    assert (result.teacher_miou, result.student_miou, result.report, dict(result.bad_items)) == (None, None, None, {})
    assert autolabel.load(result.artefacts["teacher"], scales=[1.0]).classes.names == ("road", "car")
    assert capfd.readouterr() == ("", "")


def test_the_command_finds_it_up_to_date(
    experiment: autolabel.Experiment, result: autolabel.RunResult, data: Path
) -> None:
    text = (
        f"name = 'api'\n[data]\nsource = 'folder'\nroot = '{data}'\n[infer]\nscales = [1.0]\nchunk = 2\n[teacher]\n"
        "crop = [32, 32]\nbatch = 2\nepochs = 1\nepoch_images = 4\n[teacher.model]\ntrunk = 'hrnet_tiny'\n"
        "head_channels = 8\nkey_channels = 4\nattention_channels = 4\n"
    )
    file = data.parent / "api.toml"
    file.write_text(text)
    assert call_json("run", file, "--work", result.work, "--until", "label", "-q")["made"] == []
    assert (
        autolabel.Experiment.from_file(file).with_settings({"runtime": ONE_CORE, "label.threshold": 0.5}) == experiment
    )


def test_a_label_set_is_a_sequence(labels: autolabel.LabelSet, result: autolabel.RunResult, data: Path) -> None:
    assert len(labels) == len(labels.images) == 3
    assert labels.images == tuple(item.image for item in labels)
    codes = autolabel.Codes(result.artefacts["infer"])
    assert (codes.images, codes.class_names) == (labels.images, ("road", "car"))
    for index, (image, ids) in enumerate(labels):
        assert labels.image_path(index) == data / "images" / f"{image}.jpg"
        assert labels.label_path(index).name == f"{Path(image).name}.png"
        np.testing.assert_array_equal(ids, codes.labels(index, 0.5))
        classes, bins = codes.codebook.classes_and_bins(codes[index].codes)
        kept = bins > codes.codebook.edges.index(0.5)
        np.testing.assert_array_equal(ids, np.where(kept, classes, 255))
    with pytest.raises(IndexError):
        labels[3]
    assert pickle.loads(pickle.dumps(labels))[1].image == labels[-2].image


def test_torch_loads_it(labels: autolabel.LabelSet) -> None:
    batches = list(DataLoader(labels, batch_size=2))
    assert [tuple(batch.labels.shape) for batch in batches] == [(2, 32, 48), (1, 32, 48)]
    assert (batches[0].labels.numpy() == np.stack([labels[0].labels, labels[1].labels])).all()


def test_its_table(labels: autolabel.LabelSet) -> None:
    table = labels.to_arrow()
    assert table.column_names == ["image", "label", "kept", "mean_confidence", "class:road", "class:car"]
    assert tuple(table["image"].to_pylist()) == labels.images
    kept = [float(np.mean(item.labels != 255)) for item in labels]
    np.testing.assert_allclose(table["kept"].to_numpy(), kept, atol=1e-6)
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(errors.ConfigError, match="needs pandas, which is not installed; pip install pandas"):
            labels.to_pandas()
    else:
        assert list(labels.to_pandas()["image"]) == list(labels.images)


def test_recut(labels: autolabel.LabelSet, tmp_path: Path) -> None:
    codes = labels.codes()
    again = labels.recut(tmp_path / "all", threshold=0, class_thresholds={"car": 0.5})
    assert again.images == labels.images
    for index in range(3):
        np.testing.assert_array_equal(again[index].labels, codes.labels(index, 0, {"car": 0.5}))
    assert autolabel.LabelSet(tmp_path / "all" / "labels").images == labels.images
    with pytest.raises(errors.DataError, match="does not say where the codes are"):
        again.recut(tmp_path / "b")
    for threshold, text in ((0.55, "threshold: 0.55 is no bin edge"), ({}, "class_thresholds: .*'bus'")):
        with pytest.raises(errors.ConfigError, match=text):
            labels.recut(
                tmp_path / "c", **({"class_thresholds": {"bus": 0.5}} if threshold == {} else {"threshold": 0.55})
            )
    assert not (tmp_path / "c").exists()
    with pytest.raises(errors.ConfigError, match="exists and is not an empty folder"):
        labels.recut(tmp_path / "all", threshold=0.5)


def test_damage_is_found(labels: autolabel.LabelSet, result: autolabel.RunResult, tmp_path: Path) -> None:
    copy = shutil.copytree(labels.path, tmp_path / "artefacts" / "label" / "copy")
    damaged = autolabel.LabelSet(copy)
    file = damaged.label_path(0)
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(errors.CorruptArtefact):
        damaged[0]
    assert damaged[1].image == labels.images[1]
    with pytest.raises(errors.DataError, match="its codes are no longer in the work folder; run the experiment again"):
        damaged.codes()
    for wrong in (tmp_path, result.artefacts["infer"], tmp_path / "missing"):
        with pytest.raises(errors.DataError, match="give a label artefact"):
            autolabel.LabelSet(wrong)
    for wrong in (tmp_path, tmp_path / "missing", result.artefacts["label"]):
        with pytest.raises(errors.DataError, match="give an infer artefact"):
            autolabel.Codes(wrong)


def test_wrong_calls(experiment: autolabel.Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, text in (
        ({"experiment": 3}, "experiment: is of type int; give an autolabel.Experiment"),
        ({"experiment": tmp_path / "no.toml"}, "cannot be read"),
        ({"until": "nothing"}, "step 'nothing': is not in this pipeline"),
        ({"device": "gpu"}, "device: 'gpu'"),
        ({"jobs": -1}, "jobs: -1"),
        ({"work": tmp_path / "file"}, "file: is not a folder"),
    ):
        with pytest.raises(errors.ConfigError, match=text):
            autolabel.run(**{"experiment": experiment, "work": tmp_path / "work", **arguments})
    assert not (tmp_path / "work").exists()


def test_wrong_experiments(experiment: autolabel.Experiment, data: Path, tmp_path: Path) -> None:
    source = {"source": "folder", "root": str(data)}
    for settings, text in (
        ({"name": "a"}, "'data' is missing"),
        ({"name": 3, "data": source}, "name = 3"),
        ({"name": "a", "data": 3}, "data = 3"),
        ({"name": "a", "data": source, "teacher": {"epoch": 3}}, r"unknown key 'teacher.epoch'; did you mean 'epochs'"),
    ):
        with pytest.raises(errors.ConfigError, match=text):
            autolabel.Experiment(**settings)
    for settings, text in (
        ({"teacher.epoch": 3}, r"unknown key 'teacher.epoch'"),
        ({"teacher.epochs": "many"}, "teacher.epochs = 'many'"),
        ({"name.x": 1}, "'name' is a value, not a table"),
    ):
        with pytest.raises(errors.ConfigError, match=text):
            experiment.with_settings(settings)
    for arguments, text in (
        (("folder", tmp_path / "no"), "is not a folder"),
        (("voc", data), "source: 'voc' is not known; one of folder, camvid, cityscapes, mapillary"),
    ):
        with pytest.raises(errors.ConfigError, match=text):
            autolabel.Experiment.from_source(*arguments)
    for options, text in (({"minutes": -1}, "minutes: -1"), ({"weights": "mine"}, "weights: 'mine' is not known")):
        with pytest.raises(errors.ConfigError, match=text):
            autolabel.Experiment.from_source("folder", data, **options)


def test_open_names_the_report(experiment: autolabel.Experiment, result: autolabel.RunResult, data: Path) -> None:
    file = data.parent / "open.toml"
    file.write_text(f"name = 'api'\n[data]\nsource = 'folder'\nroot = '{data}'\n")
    refused = call("open", file, "--work", result.work, "--print")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "holds no report of these settings; run `autolabel run" in refused.stderr


def test_from_source_is_what_init_writes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = autolabel.Experiment.from_source("folder", "../" * 20 + str(data).lstrip("/"), weights="random")
    assert call("init", "--source", "folder", "--root", data, "--weights", "random", "--out", "e.toml").exit_code == 0
    assert made == autolabel.Experiment.from_file("e.toml")
    assert made.name == "my-data"
    assert [path.name for path in tmp_path.iterdir()] == ["e.toml"], "from_source writes nothing"
