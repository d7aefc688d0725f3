"""From a folder of images to labels in Python: experiment, run, label set, codes."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

import autolabel
from autolabel import errors
from autolabel.formats.label_sets import open_label_set
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


NO_PATHS = (None, 3, b"x", ["a"], "", "a\0b", autolabel)


def test_the_path_that_a_run_prints_is_its_label_set(
    labels: autolabel.LabelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (labels.path / "data", labels.path / "data/labels"):
        same = autolabel.LabelSet(path)
        assert (same.images, same.image_path(0)) == (labels.images, labels.image_path(0))
        assert len(open_label_set(path).items) == len(labels)
        assert open_label_set(path).items[0].image.endswith(".jpg"), "it knows the files of its images"
    monkeypatch.chdir(labels.path / "data")
    assert autolabel.LabelSet(".").image_path(0) == labels.image_path(0)
    with pytest.raises(errors.DataError, match="is no label set"):
        autolabel.LabelSet("labels.parquet")


@pytest.mark.parametrize("wrong", NO_PATHS, ids=repr)
def test_no_path(wrong: object, labels: autolabel.LabelSet, experiment: autolabel.Experiment) -> None:
    calls: list[Callable[[Any], object]] = [
        autolabel.LabelSet,
        autolabel.Codes,
        autolabel.Experiment.from_file,
        labels.recut,
        labels.codes().cut,
        lambda path: autolabel.Experiment.from_source("folder", path),
    ]
    if wrong is not None:
        calls.append(lambda path: autolabel.run(experiment, work=path))
    for called in calls:
        with pytest.raises(errors.ConfigError, match=r"is of type|is empty|holds a zero byte"):
            called(wrong)


def test_wrong_indices_and_thresholds(labels: autolabel.LabelSet, tmp_path: Path) -> None:
    codes = labels.codes()
    assert codes[np.int64(0)].image == codes[0].image
    for wrong in (None, 1.5, "x", slice(0, 2), [0]):
        for called in (labels.__getitem__, labels.image_path, labels.label_path, codes.__getitem__, codes.labels):
            with pytest.raises(errors.ConfigError, match="an index of type"):
                called(wrong)  # type: ignore[arg-type]
    for options, text in (
        ({"threshold": "0.5"}, "threshold: is of type str; give a number"),
        ({"threshold": None}, "threshold: is of type NoneType"),
        ({"threshold": True}, "threshold: is of type bool"),
        ({"threshold": float("nan")}, "threshold: nan is no number"),
        ({"class_thresholds": 3}, "class_thresholds: is of type int; give a dict"),
        ({"class_thresholds": {1: 0.5}}, "a key of type int"),
        ({"class_thresholds": {"road": "high"}}, "class_thresholds: road: is of type str"),
    ):
        for cut in (labels.recut, codes.cut):
            with pytest.raises(errors.ConfigError, match=text):
                cut(tmp_path / "cut", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_classes": "3"}, "'3' classes"),
        ({"num_classes": 3.0}, "3.0 classes"),
        ({"num_classes": 3, "edges": 0.5}, "edges: is of type float"),
        ({"num_classes": 3, "edges": ["0.5"]}, "edges: '0.5' is no number"),
        ({"num_classes": 3, "second_below": None}, "second_below: None is no number"),
    ],
)
def test_no_codebook(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(errors.ConfigError, match=text):
        autolabel.Codebook(**arguments)  # type: ignore[arg-type]


def test_wrong_calls(experiment: autolabel.Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, text in (
        ({"experiment": 3}, "experiment: is of type int; give an autolabel.Experiment"),
        ({"experiment": tmp_path / "no.toml"}, "cannot be read"),
        ({"until": ["label"]}, "until: is of type list"),
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
        ({"teacher.epochs": object()}, "holds a value that no setting has: an object of type object"),
        ({"data": {(1, 2): 3}}, "holds a value that no setting has"),
        ({3: 3}, "a key of type int"),
        (3, "with_settings: is of type int"),
    ):
        with pytest.raises(errors.ConfigError, match=text):
            experiment.with_settings(settings)
    for arguments, text in (
        (("folder", tmp_path / "no"), "is not a folder"),
        (("voc", data), "source: 'voc' is not known; one of folder, camvid, cityscapes, mapillary"),
    ):
        with pytest.raises(errors.ConfigError, match=text):
            autolabel.Experiment.from_source(*arguments)
    for options, text in (
        ({"minutes": -1}, "minutes: -1"),
        ({"minutes": "20"}, "minutes: is of type str; give a number"),
        ({"weights": "mine"}, "weights: 'mine' is not known"),
        ({"name": 3}, "name: is of type int"),
        ({"settings": ["data.images=a"]}, "settings: is of type list; give a dict"),
        ({"settings": {"teacher.epochs": 3}}, "teacher.epochs: is no setting of the data"),
        ({"settings": {"data.images": object()}}, "data.images: is of type object"),
        ({"settings": {"data.images": "\udcff"}}, "is not UTF-8"),
        ({"settings": {"data.image": "img"}}, "unknown key 'data.image'"),
    ):
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


def test_from_source_takes_another_layout_as_init_does(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data, "other")
    Path("other/images").rename("other/img")
    Path("other/masks").rename("other/drawn by hand")
    settings = {"data.images": "img", "data.masks": "drawn by hand", "data.max_bad": 2, "data.splits": {"a": "train"}}
    made = autolabel.Experiment.from_source("folder", "other", weights="random", settings=settings)
    words = ["data.images=img", "data.masks=drawn by hand", "data.max_bad=2", 'data.splits={a = "train"}']
    sets = [word for setting in words for word in ("--set", setting)]
    done = call("init", "--source", "folder", "--root", "other", "--weights", "random", "--out", "e.toml", *sets)
    assert done.exit_code == 0, done.stderr
    assert made == autolabel.Experiment.from_file("e.toml")
    assert (made.data.images, made.data.max_bad) == ("img", 2)


def test_a_path_object_starts_at_the_current_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = autolabel.Experiment(name="a", data={"source": "folder", "root": Path("mine")})
    assert relative == autolabel.Experiment(name="a", data={"source": "folder", "root": "mine"})
    assert relative.data.root == tmp_path / "mine"
    assert relative.with_settings({"data.root": Path("x")}).data.root == tmp_path / "x"
