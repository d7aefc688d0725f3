"""`student.weights = "teacher"`: the student goes on from the network that made its auto labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from autolabel.config.load import load_experiment
from autolabel.config.networks import ForeignConfig, TeacherConfig
from autolabel.config.schema import FuseConfig
from autolabel.data.sources.registry import plan
from autolabel.errors import ConfigError
from autolabel.flow.graph import load_pipeline
from autolabel.flow.stage import PreflightContext
from autolabel.stages import STUDENT
from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY, Tiny, call, call_json

FROM_TEACHER = ("--set", 'student.weights="teacher"')


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(experiment_toml(TINY))
    return path


def test_each_round_starts_from_the_network_that_labelled(file: Path) -> None:
    nodes = load_pipeline(load_experiment(file, ['student.weights="teacher"', "rounds=2"])).nodes
    assert nodes["student"].inputs["initial"] is nodes["teacher"]
    assert nodes["student-2"].inputs["initial"] is nodes["student"]


def test_all_students_of_the_ablation_start_from_the_teacher(file: Path) -> None:
    nodes = load_pipeline(load_experiment(file, ['student.weights="teacher"', 'pipeline="ablation"'])).nodes
    students = [node for node in nodes.values() if node.stage.name == "student"]
    assert len(students) == 4
    assert all(student.inputs["initial"] is nodes["teacher"] for student in students)


def test_the_student_begins_with_the_teachers_weights(tiny: Tiny, tmp_path: Path) -> None:
    """Without an epoch, the student is its teacher; it counts the images of both trainings as its own."""
    work = tmp_path / "work"
    shutil.copytree(tiny.work, work)
    options = (tiny.file, "--work", work, *FROM_TEACHER, "--set", "student.epochs=0")
    made = call_json("run", *options, "-q", "--until", "student")["made"]
    assert made == ["student"], "nothing else depends on where the student starts"
    stages = {stage["name"]: stage for stage in call_json("status", *options)["stages"]}
    teacher, student = (Path(stages[name]["path"]) / "data" for name in ("teacher", "student"))
    before, after = (load_file(folder / "weights.safetensors") for folder in (teacher, student))
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)
    ours, theirs = (json.loads((folder / "trained_on.json").read_text()) for folder in (student, teacher))
    assert ours == theirs


@pytest.mark.slow
def test_training_goes_on_from_there(tiny: Tiny, tmp_path: Path) -> None:
    """With a learning rate of almost zero, training moves only the norms' statistics."""
    work = tmp_path / "work"
    shutil.copytree(tiny.work, work)
    options = (tiny.file, "--work", work, *FROM_TEACHER, "--set", "student.lr=1e-12")
    call_json("run", *options, "-q", "--until", "student")
    stages = {stage["name"]: stage for stage in call_json("status", *options)["stages"]}
    teacher, student = (Path(stages[name]["path"]) / "data" for name in ("teacher", "student"))
    before, after = (load_file(folder / "weights.safetensors") for folder in (teacher, student))
    names = [name for name in before if name.endswith(".weight")]
    assert names
    assert all(abs(before[name] - after[name]).max() < 1e-6 for name in names)
    ours, theirs = (json.loads((folder / "trained_on.json").read_text()) for folder in (student, teacher))
    assert set(ours["images"]) > set(theirs["images"])
    assert ours["complete"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ('student.model.fusion="average"', "student.model.fusion: is 'average', and its teacher"),
        ("student.model.head_channels=24", "student.model.head_channels: is 24"),
        ('student.huggingface="folder"', "student.huggingface: and student.weights: both are set"),
        ('student.class_map={ a = "b" }', "student.class_map: is for a Hugging Face model"),
    ],
)
def test_another_network_is_refused_before_anything_runs(file: Path, tmp_path: Path, change: str, what: str) -> None:
    for command in (["run", "-q"], ["run", "--dry-run"]):
        result = call(*command, file, "--work", tmp_path / "work", *FROM_TEACHER, "--set", change)
        assert result.exit_code == 2, result.output
        assert what in result.stderr
    assert not (tmp_path / "work" / "artefacts").exists()


def test_a_foreign_teacher_gives_no_weights(file: Path, tmp_path: Path) -> None:
    experiment = load_experiment(file, ['student.weights="teacher"'])
    foreign = ForeignConfig(kind="arrays", path=tmp_path)
    for teacher in (TeacherConfig(epochs=0, foreign=foreign), TeacherConfig(epochs=0, huggingface="folder")):
        inputs = {"initial": teacher, "fused": FuseConfig()}
        with pytest.raises(ConfigError, match="another framework's"):
            STUDENT.check(PreflightContext(experiment.student, inputs, plan(experiment.data)))
