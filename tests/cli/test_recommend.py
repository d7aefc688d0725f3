"""`init` chooses settings from data and machine: the choices, the time budget, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import autolabel
from autolabel.config.load import load_experiment, parse_experiment
from autolabel.config.schema import Experiment
from autolabel.config.sources import FolderConfig
from autolabel.errors import ConfigError
from autolabel.recommend import DataFacts, MachineFacts, Timing, data_facts, experiment_text, fit, recommend, timing
from autolabel.recommend.choose import ENOUGH_VAL, FEWEST_STEPS, within
from autolabel.recommend.data_settings import look_at
from tests.cli.test_init import call

LAPTOP, GPU = MachineFacts("cpu", 4), MachineFacts("cuda", 16, 80 * 2**30)
CAMVID = DataFacts(("road", "car"), (360, 480), 12, 10, 40, 3, (0.9, 0.1))
TIMING = Timing(step=0.3, label=1.0, evaluate=1.0, start=20.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine images of 40 x 64: four fine, two coarse, three unlabelled; class `bus` is in no mask."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for name in ("images", "masks", "coarse"):
        (root / name).mkdir(parents=True)
    for i in range(9):
        Image.fromarray(rng.integers(0, 256, (40, 64, 3), dtype=np.uint8)).save(root / "images" / f"{i}.png")
    mask = np.zeros((40, 64), np.uint8)
    mask[:10], mask[10:12] = 1, 255
    for i in range(4):
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    for i in (4, 5):
        Image.fromarray(mask).save(root / "coarse" / f"{i}.png")
    (root / "classes.toml").write_text('names = ["road", "car", "bus"]\n')
    return root


def test_facts_are_counted_from_the_files(folder: Path) -> None:
    facts = data_facts(look_at(FolderConfig(source="folder", root=folder, val_share=0.25)))
    assert (facts.size, facts.num_fine, facts.num_coarse, facts.num_unlabelled, facts.num_val) == ((40, 64), 3, 2, 3, 1)
    assert facts.frequencies == pytest.approx((28 / 38, 10 / 38, 0))
    assert facts.unseen == ("bus",)


def test_a_broken_mask_is_left_to_the_manifest(folder: Path) -> None:
    (folder / "masks" / "0.png").write_bytes(b"no image")
    assert sum(data_facts(look_at(FolderConfig(source="folder", root=folder))).frequencies) == pytest.approx(1)


def test_choices_follow_the_data_and_the_machine() -> None:
    laptop, gpu = recommend(CAMVID, LAPTOP), recommend(CAMVID, GPU)
    assert (laptop.trunk, laptop.precision, laptop.threads) == ("efficientnet_lite0", "fp32", 1)
    assert (gpu.precision, gpu.threads) == ("bf16", 0)
    assert gpu.batch > laptop.batch
    assert laptop.has_coarse
    assert not recommend(replace(CAMVID, num_coarse=0), LAPTOP).has_coarse


@pytest.mark.parametrize(
    "size", [(64, 64), (128, 256), (360, 480), (480, 360), (1080, 1920), (1024, 2048), (3000, 4000)]
)
def test_scales_and_crops_fit_any_size(size: tuple[int, int]) -> None:
    choice = recommend(replace(CAMVID, size=size), LAPTOP)
    assert 1.0 in choice.scales
    low, high = choice.train_scale
    assert low < high
    height, width = choice.crop
    assert height % 32 == width % 32 == 0
    assert 0.6 < height * width / (192 * 256) < 1.5
    assert (width - height) * (size[1] - size[0]) >= 0, "the shape of the images"


@pytest.mark.parametrize("minutes", [5.0, 20.0, 60.0])
def test_the_steps_fill_the_budget_and_no_more(minutes: float) -> None:
    choice = within(minutes, recommend(CAMVID, LAPTOP), TIMING, CAMVID)
    steps = [schedule.epochs * schedule.epoch_images // choice.batch for schedule in choice.schedules.values()]
    assert steps == pytest.approx([choice.steps, choice.steps], abs=10)
    seconds = TIMING.start + 50 * TIMING.label + 6 * TIMING.evaluate + sum(steps) * TIMING.step
    assert 0.5 * minutes * 60 < seconds < 0.9 * minutes * 60


def test_a_budget_too_small_for_a_training_names_one_that_is_enough(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"minutes.*too few.*give at least") as refused:
        within(1.0, recommend(CAMVID, LAPTOP), TIMING, CAMVID)
    least = float(re.findall(r"at least (\d+)", str(refused.value))[0])
    enough = within(least, recommend(CAMVID, LAPTOP), TIMING, CAMVID)
    assert enough.steps >= FEWEST_STEPS
    arguments = {"weights": "random", "data": CAMVID, "machine": LAPTOP, "timing": TIMING}
    text = experiment_text("x", {"source": "folder", "root": "."}, choice=enough, **arguments)
    assert f"# A run takes about {least:.0f} minutes. Measured here" in text
    assert f"fill the {least:g} minutes of --minutes" in text
    assert parse_experiment(text.encode(), where="x", base=tmp_path).teacher.epochs


def test_a_slow_machine_is_timed_with_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a call moves: each takes 30 s, or 1 s."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    calls: list[float] = []

    def call_of(seconds: float) -> None:
        calls.append(seconds)
        now[0] += seconds

    assert timing._seconds(partial(call_of, 30.0)) == 30.0
    assert len(calls) == 2
    assert timing._seconds(partial(call_of, 1.0)) == 1.0
    assert len(calls) == 2 + timing.WARM_UP + timing.STEPS


@pytest.mark.parametrize("weights", ["imagenet", "random"])
@pytest.mark.parametrize("machine", [LAPTOP, GPU], ids=["cpu", "gpu"])
def test_the_file_holds_the_choices(machine: MachineFacts, weights: str, tmp_path: Path) -> None:
    odd = replace(CAMVID, class_names=("road", 'a "b"\n[x]'), frequencies=(1.0, 0.0))
    choice = recommend(odd, machine)
    text = experiment_text(
        "mine", {"source": "folder", "root": "data"}, weights=weights, choice=choice, data=odd, machine=machine
    )
    experiment = parse_experiment(text.encode(), where="mine.toml", base=tmp_path)
    for table in (experiment.teacher, experiment.student):
        assert (table.model.trunk, table.crop, table.batch) == (choice.trunk, choice.crop, choice.batch)
        assert table.freeze.is_any == (weights == "imagenet"), "random layers are not frozen"
    assert experiment.teacher.weights == (None if weights == "random" else "imagenet")
    assert experiment.student.weights == "teacher"
    assert experiment.infer.scales == experiment.evaluate.scales == choice.scales
    assert experiment.label.coarse == "fill"


@pytest.mark.parametrize(("num_val", "keeps"), [(ENOUGH_VAL - 1, False), (ENOUGH_VAL, True)])
def test_many_validation_images_choose_the_weights_of_the_student(num_val: int, keeps: bool, tmp_path: Path) -> None:
    facts = replace(CAMVID, num_val=num_val)
    choice = within(30.0, recommend(facts, LAPTOP), TIMING, facts)
    arguments = {"weights": "random", "choice": choice, "data": facts, "machine": LAPTOP, "timing": TIMING}
    text = experiment_text("mine", {"source": "folder", "root": "data"}, **arguments)
    experiment = parse_experiment(text.encode(), where="mine.toml", base=tmp_path)
    assert experiment.student.keep_best is (experiment.student.validate_every > 0) is keeps
    assert not experiment.teacher.keep_best


def test_validations_of_the_student_count_in_the_budget() -> None:
    many = replace(CAMVID, num_val=100)
    choice = recommend(many, LAPTOP)
    validating, silent = (within(20.0, c, TIMING, many) for c in (choice, replace(choice, validate_every=0)))
    spent = 5 * 100 * TIMING.evaluate / (2 * sum(scale**2 for scale in choice.scales))
    assert 2 * (silent.steps - validating.steps) * TIMING.step == pytest.approx(spent, abs=1)


@pytest.mark.slow
def test_init_times_real_steps(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    result = call(
        "init", "--source", "folder", "--root", folder, "--out", file, "--minutes", 600, "--weights", "random"
    )
    assert result.exit_code == 0, result.output
    assert "3 training images with fine labels" in result.stdout
    assert "steps for the teacher, " in result.stdout
    assert load_experiment(file).teacher.epochs >= 1
    refused = call("init", "--source", "folder", "--root", folder, "--out", tmp_path / "f.toml", "--minutes", 0.1)
    assert (refused.exit_code, "give at least" in refused.stderr) == (2, True)
    assert not (tmp_path / "f.toml").exists()
    with pytest.raises(ConfigError, match=r"minutes: 0\.1 minutes are too few"):
        autolabel.Experiment.from_source("folder", folder, minutes=0.1, weights="random")


@pytest.mark.parametrize(("seconds", "precision"), [(0.2, "bf16"), (0.29, "fp32")])
def test_bf16_is_chosen_where_its_steps_are_measured_to_be_faster(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, precision: str
) -> None:
    timed = []

    def step_seconds(experiment: Experiment, num_classes: int) -> float:
        timed.append(experiment.teacher.precision)
        return seconds

    monkeypatch.setattr(fit, "measure", lambda *_: TIMING)
    monkeypatch.setattr(fit, "step_seconds", step_seconds)
    monkeypatch.setattr(fit, "machine_facts", lambda: replace(LAPTOP, may_gain_from_bf16=True))
    new = fit.new_experiment("folder", folder, "mine", where=tmp_path / "e.toml", minutes=5.0, weights="random")
    assert timed == ["bf16"]
    experiment = parse_experiment(new.text.encode(), where="e.toml", base=tmp_path)
    assert (experiment.teacher.precision, experiment.student.precision) == (precision, precision)
    assert ("# a step takes 0.67 of the time of fp32 here" in new.text) == (precision == "bf16")
    steps = experiment.teacher.epochs * experiment.teacher.epoch_images // experiment.teacher.batch
    slower = fit.within(5.0, recommend(data_facts(new.seen), LAPTOP), TIMING, data_facts(new.seen)).steps
    assert (steps > 1.2 * slower) == (precision == "bf16"), "the time that it saves becomes steps"
