from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from autolabel.config.networks import AugmentConfig
from autolabel.data.loaders import Sample
from autolabel.errors import ConfigError, ImageError
from autolabel.evaluation.confusion import confusion_matrix
from autolabel.evaluation.iou import mean_iou
from autolabel.models.layers import MEAN, STD, normalise
from autolabel.signals import StopFlag
from autolabel.training import TrainingData, num_steps
from autolabel.training.loop import validation_due
from autolabel.training.validate import chosen_images, validate
from tests.helpers.hang import HANG_SECONDS
from tests.helpers.paths import ROOT
from tests.training.tiny_training import NAMES, ArrayPairs, digest, network, settings, train


@pytest.mark.slow
def test_it_learns() -> None:
    model = network(dropout=0.0)
    result = train(model, table=settings(epochs=30, lr=0.1, validate_every=0, augment=AugmentConfig(), ema=0.5))
    assert result.steps == 75
    assert result.metrics["miou"] > 0.85
    assert set(result.metrics["iou"]) == set(NAMES)
    assert not model.training


@pytest.mark.slow
def test_two_runs_give_the_same_bits_whatever_the_workers() -> None:
    a, b, c = network(), network(), network()
    train(a)
    train(b)
    train(c, workers=2)
    assert digest(a) == digest(b) == digest(c)
    other = network()
    train(other, table=settings(class_uniform=0.0))
    assert digest(other) != digest(a)


_IN_A_PROCESS = """
import torch
from tests.training.tiny_training import *
from autolabel.config.networks import ModelConfig
from autolabel.config.schema import RuntimeConfig
from autolabel.models import build_model
torch.manual_seed(0)
model = build_model(ModelConfig(trunk="hrnet_tiny", head_channels=16, key_channels=8, attention_channels=8), 3)
data = TrainingData(ArrayPairs(3, (48, 64)), None, NAMES, epoch_images=3)
table = settings(crop=(64, 64), loss="rmi", epochs=2)
runtime = RuntimeConfig(device="cpu", threads=2)
fit(model, data, settings=table, seed=7, runtime=runtime, save=len, log=len, stop=StopFlag(), quiet=True)
print(digest(model))
"""


@pytest.mark.slow
def test_two_processes_with_two_threads_give_the_same_bits() -> None:
    patient = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # for a busy machine
    runs = [
        subprocess.run(
            [sys.executable, "-c", _IN_A_PROCESS], cwd=ROOT, env=patient, capture_output=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != b""


def test_rows_are_json_and_complete() -> None:
    rows: list[dict] = []
    train(network(), rows=rows)
    steps = [row for row in rows if row["kind"] == "step"]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["epoch"] for row in steps] == [0, 0, 1, 1, 1, 2, 2]  # of the batch's last image
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [3, 5, 7]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_checkpoints_come_as_often_as_asked_and_at_the_end() -> None:
    saved: list[bytes] = []
    train(network(), table=settings(checkpoint_every=3), saved=saved)
    assert len(saved) == 3


def test_the_averaged_weights_are_kept_and_validated() -> None:
    plain, averaged = network(), network()
    train(plain, table=settings(ema=0.0))
    result = train(averaged, table=settings(ema=0.9))
    assert digest(plain) != digest(averaged)
    assert result.metrics["matrix"] == validated(averaged)["matrix"]


def validated(model: torch.nn.Module, pairs: ArrayPairs | None = None, limit: int | None = None) -> dict:
    return dict(
        validate(
            model,
            pairs or ArrayPairs(3, seed=9),
            limit=limit,
            class_names=NAMES,
            mean=MEAN,
            std=STD,
            device=torch.device("cpu"),
            precision="fp32",
            stop=StopFlag(),
        )
    )


def test_validation_against_a_plain_loop() -> None:
    model, pairs = network(), ArrayPairs(4, seed=9)
    result = validated(model, pairs)
    model.eval()
    matrix = np.zeros((3, 4), np.int64)
    for i in range(4):
        image, label = pairs[i][:2]
        with torch.no_grad():
            logits = model(normalise(torch.from_numpy(image)[None])).fused[0].numpy()
        matrix += confusion_matrix(logits.argmax(axis=0), label, 3)
    assert result["matrix"] == matrix.tolist()
    assert result["miou"] == mean_iou(matrix)


def test_validation_images_are_spread() -> None:
    assert chosen_images(10, 4) == [0, 2, 5, 7]
    assert chosen_images(3, 8) == chosen_images(3, None) == [0, 1, 2]


@pytest.mark.parametrize(("batch", "epoch_images", "every"), [(2, 5, 1), (3, 5, 2), (8, 3, 1), (4, 4, 3), (2, 5, 0)])
def test_validation_comes_once_after_each_period_and_at_the_end(batch: int, epoch_images: int, every: int) -> None:
    table = settings(batch=batch, epochs=12, validate_every=every)
    total = num_steps(table, epoch_images)
    due = [
        step
        for step in range(total + 1)
        if validation_due(step, settings=table, epoch_images=epoch_images, total_steps=total)
    ]
    expected = {total}
    for epoch in range(every, 13, every) if every else ():
        step = -(-epoch * epoch_images // batch)  # the first step that has seen the whole epoch
        expected |= {step} if step <= total else set()
    assert due == sorted(expected)


def test_a_batch_larger_than_the_training_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch of 16 is more than the 15 images"):
        train(network(), table=settings(batch=16))


def test_micro_batches_cover_the_batch() -> None:
    a, b = network(norm=False, dropout=0.0), network(norm=False, dropout=0.0)
    train(a, table=settings(batch=4, ema=0.0))
    train(b, table=settings(batch=4, ema=0.0), micro_batch=3)
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=1e-4, atol=1e-5)  # sums in another order
    assert digest(a) != digest(b)


class Unreadable(ArrayPairs):
    def __getitem__(self, index: int) -> Sample:
        if index == 2:
            raise ImageError("street.png", "changed since the manifest was built", "put it back")
        return super().__getitem__(index)


class Broken(ArrayPairs):
    def __getitem__(self, index: int) -> Sample:
        raise KeyError("our own mistake")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_image_is_one_clear_line(workers: int) -> None:
    data = TrainingData(Unreadable(), None, NAMES, epoch_images=5)
    with pytest.raises(ImageError, match=r"street\.png: changed since the manifest was built; put it back"):
        train(network(), table=settings(class_uniform=0.0), data=data, workers=workers)


_FAILS = """
import sys
from tests.training.test_loop import *
kept = []
try:
    train(network(), table=settings(class_uniform=0.0), data=TrainingData(Broken(), None, NAMES, 5), workers=2)
except KeyError as error:
    kept.append(error)  # its traceback keeps the loader alive to the end of the process
sys.exit(7)
"""


@pytest.mark.slow
def test_a_process_that_fails_with_loaders_at_work_can_end() -> None:
    run = subprocess.run([sys.executable, "-c", _FAILS], cwd=ROOT, timeout=HANG_SECONDS)
    assert run.returncode == 7
