"""Options of a training: class weights, clipping, the best weights, patience, the fraction of fine crops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.data.sampling import EpochSampler, plan_phases
from autolabel.losses import class_weights
from autolabel.training import TrainingData
from autolabel.training.loop import best_of
from tests.training.test_trainer import batch, trainer
from tests.training.tiny_training import NAMES, ArrayPairs, digest, network, settings, train


def test_class_weights_change_from_the_first_step_to_the_last() -> None:
    frequencies = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    training = trainer(network(), class_weights=(1.0, 0.5))
    training.frequencies = frequencies
    seen: list[torch.Tensor] = []
    loss = training.loss

    def spy(*args: Any, weights: torch.Tensor, **named: Any) -> torch.Tensor:
        seen.append(weights)
        return loss(*args, weights=weights, **named)

    training.loss = spy
    images, labels = batch()
    for _ in range(training.total_steps):
        training.train_step(images, labels)
    for step, power in ((0, 1.0), (-1, 0.5)):
        torch.testing.assert_close(seen[step], class_weights(frequencies, power)[labels.long()])


def test_the_frequencies_are_those_of_the_fine_labels() -> None:
    """Class weights of a training whose coarse labels hold another class mix than its fine ones."""
    pairs = ArrayPairs()
    pairs.labels[3][:], pairs.labels[4][:] = 2, 2
    fine = TrainingData(pairs, None, NAMES, 5, layers=["fine"] * 3 + ["coarse"] * 2)
    counts = np.array([np.bincount(label.ravel(), minlength=256)[:3] for label in pairs.labels])
    counted = TrainingData(pairs, None, NAMES, 5, layers=fine.layers, counts=counts)
    ends = []
    for data in (fine, counted):
        model = network()
        train(model, table=settings(class_weights=(0.5, 0.5)), data=data)
        ends.append(digest(model))
    assert ends[0] == ends[1]
    other = network()
    train(other, table=settings(class_weights=(0.5, 0.5)), data=TrainingData(pairs, None, NAMES, 5))
    assert digest(other) != ends[0]


def test_a_long_gradient_is_scaled_to_the_limit() -> None:
    moved = []
    for limit in (0.0, 1e-3):
        model = network(dropout=0.0)
        before = model.classify.weight.detach().clone()
        training = trainer(model, clip_grad=limit, optimizer="sgd", momentum=0.0, weight_decay=0.0, warmup=0.0)
        training.train_step(*batch())
        moved.append(model.classify.weight.detach() - before)
    free, clipped = moved
    ratio = (clipped / free)[free.abs() > 1e-3]
    assert ratio.max().item() == pytest.approx(ratio.min().item(), rel=1e-2), "all by the same factor"
    assert 0 < ratio.mean().item() < 0.5


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_best_weights_are_kept(ema: float) -> None:
    """With a learning rate that ruins the network later, the weights of the best validation come back."""
    table = settings(epochs=6, epoch_images=4, lr=2.0, poly_power=0.0, warmup=0.0, ema=ema, keep_best=True)
    model = network()
    result = train(model, table=table)
    best = best_of(result.history)
    assert best < len(result.history) - 1, "the last validation is worse, or this test shows nothing"
    assert result.metrics == result.history[best]
    short = network()  # the same steps, ended at the best validation: the schedule is flat
    again = train(short, table=settings(**{**table.model_dump(), "keep_best": False, "epochs": best + 1}))
    assert again.metrics["miou"] == result.metrics["miou"]


def test_it_stops_when_patience_is_over() -> None:
    table = settings(epochs=12, lr=2.0, poly_power=0.0, warmup=0.0, keep_best=True, patience=2)
    saved: list[bytes] = []
    model = network()
    result = train(model, table=table, saved=saved)
    assert len(result.history) == best_of(result.history) + 3 < 12
    for checkpoint in saved[-3:]:
        again = network(seed=99)
        assert train(again, table=table, resume=checkpoint).history == result.history
        assert digest(again) == digest(model)


def test_the_first_of_equal_validations_is_the_best() -> None:
    assert best_of([{"miou": None}, {"miou": 0.5}, {"miou": 0.5}, {"miou": 0.4}]) == 1
    assert best_of([{"miou": None}, {"miou": None}]) == 0


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_fine_share_is_the_fraction_of_fine_samples(share: float) -> None:
    layers = ["fine"] * 2 + ["coarse"] * 9
    images_by_class = (np.arange(11), np.array([1, 5]), np.array([10]))
    phases = plan_phases(settings(fine_share=share), layers=layers, names=NAMES, images_by_class=images_by_class)
    sampler = EpochSampler(phases, 3, 40, 0.5)
    for epoch in range(3):
        items = sampler.items(epoch)
        assert len(items) == 40
        assert sum(layers[item.index] == "fine" for item in items) == round(40 * share)
        by_class = sum(item.class_id is not None for item in items)
        assert math.isclose(by_class, 20, abs_tol=1)


def test_fine_share_needs_both_kinds_of_labels() -> None:
    one = plan_phases(settings(fine_share=0.3), layers=["fine"] * 4, names=NAMES, images_by_class=())
    assert [len(phase.groups) for phase in one] == [1]
