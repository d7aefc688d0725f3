"""Whole runs with tiny Hugging Face folders: as teachers as they are, and as students."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autolabel.data.manifest import Manifest
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import read_shard
from autolabel.models import network_from_bytes, normalise
from tests.helpers.experiments import ONE_CORE, experiment_toml, scenes
from tests.helpers.hf_folders import save
from tests.stages.tiny_pipeline import call, call_json

OURS = ("road", "pavement", "building", "sky", "vegetation", "pole", "sign", "car", "person")
THEIRS = ("Road", "sidewalk", "building", "tree", "bus", "sky")
EXPERIMENT = {
    "name": "hf",
    "data": scenes(64, 96, fine=2, coarse=3, val=2),
    "teacher": {
        "huggingface": "teacher",
        "epochs": 0,
        "class_map": {"sidewalk": "pavement", "tree": "vegetation", "bus": "car"},
    },
    "infer": {"scales": [0.5, 1.0], "flip": True, "chunk": 2},
    "label": {"threshold": 0.3},
    "student": {
        "huggingface": "student",
        "crop": [32, 48],
        "batch": 2,
        "epochs": 1,
        "epoch_images": 4,
        "optimizer": "adamw",
        "lr": 1e-3,
        "tile": 32,
        "ema": 0.5,
        "checkpoint_every": 1,
    },
    "runtime": {**ONE_CORE, "jobs": 2},
}


class Run:
    def __init__(self, folder: Path, teacher: str, student: str) -> None:
        self.file, self.work = folder / "hf.toml", folder / "work"
        self.teacher, self.student = folder / "teacher", folder / "student"
        self.file.write_text(experiment_toml(EXPERIMENT))
        save(self.teacher, teacher, THEIRS)
        save(self.student, student, ("car", "sky"))
        self.result = call_json("run", self.file, "--work", self.work, "-q")

    def path(self, step: str) -> Path:
        found = call_json("status", self.file, "--work", self.work)["stages"]
        return Path(next(s["path"] for s in found if s["name"] == step))

    def data(self, step: str) -> Path:
        return self.path(step) / "data"


@pytest.fixture(scope="module", params=[("segformer", "upernet-resnet"), ("mask2former", "segformer")])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("hf"), *request.param)


@pytest.mark.slow
def test_a_run_ends_with_labels_a_student_and_a_report(run: Run) -> None:
    assert run.result["labels"]["count"] == 3
    assert 0 <= run.result["student_miou"] <= 1
    page = Path(run.result["report"]).read_text()
    assert "were trained on before is not known" in page
    assert "trained on unknown data" in page
    assert str(run.file.parent) not in page
    assert call_json("run", run.file, "--work", run.work, "-q")["made"] == []


@pytest.mark.slow
def test_codes_are_the_mean_of_what_all_scales_say(run: Run) -> None:
    data = (run.data("teacher") / "weights.safetensors").read_bytes()
    model, card = network_from_bytes(data, "w")
    assert card.class_names == OURS
    book = Codebook(len(OURS))
    shards = [read_shard(file.read_bytes(), where=file) for file in sorted(run.data("infer").glob("codes-*.h5"))]
    manifest = Manifest.from_files(lambda name: (run.data("manifest") / name).read_bytes())
    seen = 0
    for shard in shards:
        for image_id in shard.ids:
            pixels = np.array(Image.open(run.data("manifest") / manifest.image(image_id).path))
            images = normalise(torch.from_numpy(pixels[None]), card.mean, card.std)
            with torch.inference_mode():
                views = [model.probabilities(images, scale=scale) for scale in (0.5, 1.0)]
                views += [model.probabilities(images.flip(-1), scale=scale).flip(-1) for scale in (0.5, 1.0)]
            p = torch.stack(views).double().mean(0)[0, :-1].numpy()
            bins = (p.max(0)[..., None] > np.array(book.edges)).sum(-1)
            expected = np.where(p.max(0) > 0.001, p.argmax(0) * book.bins + bins, book.invalid)
            near = np.abs(p.max(0)[..., None] / np.array([0.001, *book.edges]) - 1).min(-1) < 1e-4
            near |= np.diff(np.sort(p, axis=0)[-2:], axis=0)[0] < 1e-5
            np.testing.assert_array_equal(shard.codes(image_id)[~near], expected[~near])
            assert near.mean() < 0.1
            seen += 1
    assert seen == 3


@pytest.mark.slow
def test_what_the_teacher_stage_writes_stands_for_itself(run: Run) -> None:
    manifest = json.loads((run.path("teacher") / "manifest.json").read_text())
    assert manifest["meta"]["never_predicted"] == ["pole", "sign", "person"]
    assert json.loads((run.data("teacher") / "trained_on.json").read_text()) == {"complete": False, "images": []}
    assert str(run.teacher).encode() not in (run.data("teacher") / "weights.safetensors").read_bytes()
    audit = json.loads((run.data("audit") / "audit.json").read_text())
    assert (audit["leak"]["leaked"], audit["leak"]["complete"]) == ([], False)
    note = json.loads((run.path("student") / "log" / "metrics.jsonl").read_text().splitlines()[0])
    assert note["text"].endswith(
        "knows no class for road, pavement, building, vegetation, pole, sign, person: their layers begin afresh"
    )


@pytest.mark.slow
def test_moving_the_folder_makes_nothing_stale(run: Run, tmp_path: Path) -> None:
    run.teacher.rename(tmp_path / "moved")
    try:
        option = ["--set", f"teacher.huggingface={tmp_path / 'moved'}"]
        steps = call_json("status", run.file, "--work", run.work, *option)["stages"]
        assert {step["state"] for step in steps} == {"fresh"}
        steps = call_json("status", run.file, "--work", run.work)["stages"]
        assert next(s["why"] for s in steps if s["name"] == "teacher") != []
    finally:
        (tmp_path / "moved").rename(run.teacher)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["folder", "teacher", "student"])
def test_predict(run: Run, tmp_path: Path, source: str) -> None:
    image_file = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)).save(image_file)
    teachers = {
        "folder": run.teacher,
        "teacher": run.path("teacher"),
        "student": run.data("student") / "weights.safetensors",
    }
    options = ["--out", tmp_path / "out", "--details", "--scales", "0.5,1", "-q"]
    call_json("predict", "--teacher", teachers[source], image_file, *options)
    label = np.array(Image.open(tmp_path / "out" / "labels" / "a.png"))
    assert label.shape == (37, 53)
    assert label.max() < (len(THEIRS) if source == "folder" else len(OURS)) or 255 in label
    assert (tmp_path / "out" / "attention0.5" / "a.png").is_file()


@pytest.mark.slow
def test_a_student_can_be_the_next_teacher(run: Run, tmp_path: Path) -> None:
    weights = run.data("student") / "weights.safetensors"
    file = tmp_path / "next.toml"
    teacher = {"weights": str(weights), "epochs": 0}
    file.write_text(experiment_toml(name="hf", data=EXPERIMENT["data"], teacher=teacher))
    call_json("run", file, "--work", tmp_path / "w", "--until", "teacher", "-q")
    (made,) = (tmp_path / "w" / "artefacts" / "teacher").glob("*/data/weights.safetensors")
    assert made.read_bytes() == weights.read_bytes()
    trained = call("run", file, "--work", tmp_path / "w", "--until", "teacher", "-q", "--set", "teacher.epochs=1")
    assert trained.exit_code == 2, "the default crop and batch are for large sets"
    assert "a batch of 8 is more than the 2 images" in trained.stderr


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    file = tmp_path / "hf.toml"
    file.write_text(experiment_toml(EXPERIMENT))
    save(tmp_path / "teacher", "mask2former", THEIRS)
    save(tmp_path / "student", "segformer", THEIRS)
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "code", "says"),
    [
        (["teacher.weights=x"], 2, "teacher.huggingface: and teacher.weights: both are set; leave one of them out"),
        (["teacher.model.trunk=hrnet_tiny"], 2, "teacher.model: has no say over a Hugging Face model"),
        (
            ["teacher.epochs=1", "teacher.batch=2"],
            2,
            "Mask2Former cannot be trained: its loss matches queries to segments",
        ),
        (["student.huggingface=teacher"], 3, "teacher: is neither a folder nor in the local Hugging Face cache"),
        (["teacher.class_map={bus='cat'}"], 2, "class_map: 'cat' is no class of the experiment; did you mean 'car'?"),
        (["teacher.class_map={Road='',building='',sky=''}"], 2, "none of its 6 classes (Road, sidewalk"),
        (["teacher.huggingface=nobody/nothing"], 3, "nothing is downloaded here"),
    ],
)
def test_refused_before_anything_runs(alone: Path, overrides: list[str], code: int, says: str) -> None:
    options = [word for override in overrides for word in ("--set", override)]
    result = call("run", alone, "--work", alone.parent / "w", "-q", *options)
    assert says in result.stderr
    assert result.exit_code == code
    assert len(result.stderr.splitlines()) == 1
    assert not (alone.parent / "w" / "artefacts").exists()


def test_settings_that_need_a_hugging_face_model_or_weights(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(data={"num_fine": 2, "num_coarse": 1, "num_val": 1}))
    for override, says in (
        (
            "teacher.epochs=0",
            "teacher.epochs: 0 means: take the weights as they are; but there are none; set it above 0",
        ),
        ("student.class_map={a='b'}", "student.class_map: is for a Hugging Face model; name one with student.hugg"),
    ):
        result = call(
            "run", file, "--work", tmp_path / "w", "-q", "--set", override, "--set", "teacher.model.trunk=hrnet_tiny"
        )
        assert says in result.stderr
        assert result.exit_code == 2
