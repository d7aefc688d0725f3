from __future__ import annotations

import io
import multiprocessing
import subprocess
import sys
from typing import Any

import pytest
import torch

from autolabel.config.networks import AugmentConfig, ModelConfig, PhaseConfig
from autolabel.errors import CorruptArtefact, TrainingDiverged
from autolabel.models import build_model
from autolabel.models.layers import MEAN, STD
from autolabel.signals import StopFlag, Stopped
from autolabel.training import TrainingData
from autolabel.training.checkpoint import training_state
from autolabel.training.loop import best_of
from autolabel.training.trainer import Trainer
from tests.helpers.paths import ROOT
from tests.training.tiny_training import NAMES, ArrayPairs, digest, network, settings, train

NUM_STEPS = 7  # 3 epochs of 5 images in batches of 2


class StopAfter(StopFlag):
    """A signal that arrives during the n-th question."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.left = questions

    def __call__(self) -> bool:
        self._count()
        return super().__call__()

    def check(self) -> None:
        self._count()
        super().check()

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.signum = 15


def uninterrupted(**changes: Any) -> tuple[str, list[dict[str, Any]], list[bytes]]:
    model, saved = network(), []
    result = train(model, table=settings(**changes), saved=saved)
    return digest(model), result.history, saved


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_from_every_checkpoint_the_run_ends_in_the_same_bits(optimizer: str, ema: float) -> None:
    weights, history, saved = uninterrupted(optimizer=optimizer, ema=ema)
    assert len(saved) == NUM_STEPS
    for checkpoint in saved:
        torch.rand(3)  # earlier random numbers of the process must not matter
        model = network(seed=99)
        assert train(model, table=settings(optimizer=optimizer, ema=ema), resume=checkpoint).history == history
        assert digest(model) == weights


@pytest.mark.slow
def test_phases_and_mixing_need_no_state() -> None:
    phases = (PhaseConfig(layers=("fine",), uniform=("fine", "auto")), PhaseConfig(layers=("auto",), epochs=1))
    table = settings(phases=phases, uniform_classes=("car",), augment=AugmentConfig(cutmix=0.5, classmix=0.5))
    data = TrainingData(ArrayPairs(), None, NAMES, 5, layers=["fine", "auto", "fine", "auto", "fine"])
    model, saved = network(), []
    train(model, table=table, data=data, saved=saved)
    for checkpoint in saved[1:6:2]:
        again = network(seed=99)
        train(again, table=table, data=data, resume=checkpoint)
        assert digest(again) == digest(model)
    plain = network()
    train(plain, table=settings(), data=data)
    assert digest(plain) != digest(model)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_loader_threads_does_not_matter(workers: int) -> None:
    weights, history, saved = uninterrupted()
    model = network(seed=99)
    assert train(model, resume=saved[3], workers=workers).history == history
    assert digest(model) == weights


@pytest.mark.slow
@pytest.mark.parametrize("questions", range(1, 17))  # 7 steps, 3 validations of 3 images
def test_stopped_anywhere_and_resumed(questions: int) -> None:
    weights, history, _ = uninterrupted(checkpoint_every=100)
    model, saved = network(), []
    with pytest.raises(Stopped):
        train(model, table=settings(checkpoint_every=100), saved=saved, stop=StopAfter(questions))
    model = network(seed=99)
    assert train(model, table=settings(checkpoint_every=100), resume=saved[-1]).history == history
    assert digest(model) == weights


def test_stopping_ends_the_loader_processes() -> None:
    saved: list[bytes] = []
    others = set(multiprocessing.active_children())  # of tests before this one
    with pytest.raises(Stopped) as stopped:  # held, as a handler further up would hold it
        train(network(), saved=saved, workers=2, stop=StopAfter(3))
    assert len(saved) == 3
    assert set(multiprocessing.active_children()) <= others
    assert stopped.value.signum == 15


@pytest.mark.slow
def test_in_a_new_process() -> None:
    weights, _, saved = uninterrupted()
    code = (
        "import sys; from tests.training.tiny_training import *; model = network(seed=5);"
        "train(model, resume=sys.stdin.buffer.read()); print(digest(model))"
    )
    run = subprocess.run([sys.executable, "-c", code], input=saved[2], cwd=ROOT, capture_output=True, check=True)
    assert run.stdout.decode().strip() == weights


def load(checkpoint: bytes) -> dict[str, Any]:
    return torch.load(io.BytesIO(checkpoint), weights_only=True)


def dump(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


PARTS = [
    "step",
    "history",
    "curve",
    "model",
    "model.conv.weight",
    "model.norm.running_mean",
    "model.norm.num_batches_tracked",
    "optimizer",
    "scaler",
    "scaler.scale",
    "ema",
    "ema.updates",
    "ema.average",
]


def without(state: dict[str, Any], part: str, untouched: dict[str, Any]) -> dict[str, Any]:
    """The state with one part of a new training; names in `part` may contain dots after the first one."""
    name, _, inner = part.partition(".")
    value = {**state[name], inner: untouched[name][inner]} if inner else untouched[name]
    return {**state, name: value}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_leaving_out_any_part_of_the_state_changes_the_outcome(part: str) -> None:
    # fp16 with an overflow in the first step, so that the scaler has something to remember.
    table, gain = settings(precision="fp16", max_nan=100), 20.0

    def outcome(resume: bytes | None, saved: list[bytes]) -> tuple[str, list[dict[str, Any]], object]:
        model = network(gain=gain)
        result = train(model, table=table, resume=resume, saved=saved)
        return digest(model), result.history, result.curve

    saved: list[bytes] = []
    expected = outcome(None, saved)
    state = load(saved[4])
    untouched = Trainer(network(gain=gain), lambda _, y: y, table, 7, NUM_STEPS, torch.device("cpu"), MEAN, STD, 3)
    assert outcome(dump(state), []) == expected
    assert outcome(dump(without(state, part, training_state(untouched))), []) != expected


def test_leaving_out_the_best_weights_changes_the_outcome() -> None:
    table, saved = settings(epochs=6, epoch_images=4, lr=2.0, poly_power=0.0, warmup=0.0, keep_best=True), []
    model = network()
    history = train(model, table=table, saved=saved).history
    after_best = saved[2 * best_of(history) + 2]  # two steps an epoch, and a validation after each
    assert load(after_best)["best"] is not None
    same, other = network(), network()
    train(same, table=table, resume=after_best)
    train(other, table=table, resume=dump({**load(after_best), "best": None}))
    assert digest(same) == digest(model) != digest(other)


def test_the_row_of_bad_steps_is_counted_across_a_resume() -> None:
    table, saved = settings(lr=1e30, max_nan=4, warmup=0.0, ema=0.0, validate_every=0), []
    with pytest.raises(TrainingDiverged) as first:
        train(network(), table=table, saved=saved)
    assert load(saved[-1])["num_skipped"] == 3  # the last step saved nothing
    with pytest.raises(TrainingDiverged) as second:
        train(network(), table=table, resume=saved[-2])
    assert str(second.value) == str(first.value)


def test_every_part_of_the_state_has_its_negative_test() -> None:
    _, _, saved = uninterrupted()
    tested = {"step", "history", "curve", "best", "model", "optimizer", "scaler", "ema", "num_skipped"}
    assert load(saved[0]).keys() == tested | {"run"}


@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: d[:500], lambda d: b"no checkpoint", lambda d: d[:-100]])
def test_damaged_checkpoints_are_named(damage: Any) -> None:
    _, _, saved = uninterrupted()
    with pytest.raises(CorruptArtefact, match="cannot be read"):
        train(network(), resume=damage(saved[1]))


def test_a_checkpoint_of_another_training_is_refused() -> None:
    _, _, saved = uninterrupted(epochs=4)
    with pytest.raises(CorruptArtefact, match="another training"):
        train(network(), resume=saved[1])


class Trap:
    def __reduce__(self) -> tuple:
        return print, ("code from a checkpoint ran",)


def test_a_checkpoint_runs_no_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CorruptArtefact):
        train(network(), resume=dump({"run": Trap()}))
    assert "ran" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_published_kind_of_network_resumes_too() -> None:
    table = settings(crop=(64, 64), epochs=1, precision="bf16", loss="rmi")
    shape = ModelConfig(trunk="hrnet_tiny", head_channels=16, key_channels=8, attention_channels=8)

    def outcome(resume: bytes | None, saved: list[bytes]) -> str:
        torch.manual_seed(0)
        model = build_model(shape, len(NAMES))
        train(model, table=table, resume=resume, saved=saved)
        return digest(model)

    saved: list[bytes] = []
    weights = outcome(None, saved)
    assert outcome(saved[0], []) == weights
