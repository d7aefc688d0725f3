"""Losses with weights per pixel, label smoothing and hard pixels, against reference losses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from autolabel.losses import (
    LossNormalizer,
    bce_loss,
    class_weights,
    cross_entropy,
    loss_normalizer,
    pixel_weights,
    rmi_loss,
    training_loss,
)
from autolabel.models import TrainOutput

LOSSES: list[Callable[..., torch.Tensor]] = [cross_entropy, bce_loss, rmi_loss]


def example(batch: int = 2, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, 12, 17, dtype=torch.float64, generator=generator).requires_grad_()
    labels = torch.randint(0, classes + 1, (batch, 12, 17), generator=generator)
    weights = torch.rand(labels.shape, generator=generator, dtype=torch.float64) * 3
    return logits, torch.where(labels == classes, 255, labels), weights


def plain(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    known, factor = labels != 255, weights
    targets = torch.where(known, labels, 0)
    one_hot = F.one_hot(targets, logits.shape[1]).permute(0, 3, 1, 2).double()
    bce = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none").sum(1)[known] * factor[known]
    ce = F.cross_entropy(logits, targets, reduction="none")[known] * factor[known]
    return {"bce": bce.sum() / (factor[known].sum() + 1), "ce": ce.sum() / factor[known].sum()}


def same_with_gradients(value: torch.Tensor, expected: torch.Tensor, logits: torch.Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    (got,), (want,) = torch.autograd.grad(value, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("loss", "name"), [(bce_loss, "bce"), (cross_entropy, "ce")])
def test_against_the_plain_form(loss: Callable[..., torch.Tensor], name: str) -> None:
    logits, labels, weights = example()
    same_with_gradients(loss(logits, labels, weights=weights), plain(logits, labels, weights)[name], logits)


def test_weights_change_only_the_bce_of_rmi() -> None:
    logits, labels, weights = example()
    region = rmi_loss(logits, labels) - 0.5 * bce_loss(logits, labels)
    expected = region + 0.5 * plain(logits, labels, weights)["bce"]
    same_with_gradients(rmi_loss(logits, labels, weights=weights), expected, logits)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_one_are_none(loss: Callable[..., torch.Tensor]) -> None:
    logits, labels, weights = example()
    same_with_gradients(loss(logits, labels, weights=torch.ones_like(weights)), loss(logits, labels), logits)


@pytest.mark.parametrize("loss", [cross_entropy, bce_loss])
def test_weight_zero_is_ignore(loss: Callable[..., torch.Tensor]) -> None:
    logits, labels, weights = example()
    weights = torch.where(weights < 1, 0.0, 1.0)
    ignored = torch.where(weights == 0, 255, labels)
    same_with_gradients(loss(logits, labels, weights=weights), loss(logits, ignored), logits)


@pytest.mark.parametrize("loss", ["ce", "bce", "rmi", "lovasz"])
def test_losses_of_parts_add_up(loss: str) -> None:
    logits, labels, weights = example(batch=3)
    whole = training_loss(TrainOutput(logits, logits, {0.5: logits}), labels, loss=loss, weights=weights)
    counts = [loss_normalizer(labels[i : i + 1], 3, weights[i : i + 1]) for i in range(3)]
    total = LossNormalizer(3, torch.stack([count.valid for count in counts]).sum())
    parts = [
        training_loss(
            TrainOutput(logits[i : i + 1], logits[i : i + 1], {0.5: logits[i : i + 1]}),
            labels[i : i + 1],
            loss=loss,
            counts=total,
            weights=weights[i : i + 1],
        )
        for i in range(3)
    ]
    same_with_gradients(torch.stack(parts).sum(), whole, logits)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_weight_only_the_region_term_is_left(loss: Callable[..., torch.Tensor]) -> None:
    logits, labels, weights = example()
    value = loss(logits, labels, weights=torch.zeros_like(weights))
    expected = rmi_loss(logits, labels) - 0.5 * bce_loss(logits, labels) if loss is rmi_loss else torch.zeros(())
    assert value.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("power", [0.0, 0.4, 1.0])
def test_class_weights_give_a_pixel_weight_one_on_average(power: float) -> None:
    frequencies = torch.tensor([0.9, 0.0999, 0.0001, 0.0], dtype=torch.float64)
    weights = class_weights(frequencies, power)
    assert (weights.double() * frequencies).sum().item() == pytest.approx(1)
    assert (weights[1] / weights[0]).item() == pytest.approx((0.9 / 0.0999) ** power)
    assert weights[3] == weights[2], "an unseen class has the weight of the rarest that counts"


def test_pixel_weights_are_class_weight_times_confidence() -> None:
    labels = torch.tensor([[[0, 1, 255, 2]]], dtype=torch.uint8)
    confidence = torch.tensor([[[255, 51, 255, 0]]], dtype=torch.uint8)
    per_class = torch.tensor([2.0, 3.0, 5.0])
    weights = pixel_weights(labels, per_class, confidence)
    assert weights is not None
    torch.testing.assert_close(weights[labels != 255], torch.tensor([2.0, 0.6, 0.0]))
    assert pixel_weights(labels, None, None) is None


def test_label_smoothing_is_torchs() -> None:
    logits, labels, weights = example()
    known = labels != 255
    soft = F.cross_entropy(logits, torch.where(known, labels, 0), reduction="none", label_smoothing=0.2)
    expected = (soft[known] * weights[known]).sum() / weights[known].sum()
    output = TrainOutput(logits, None, {})
    same_with_gradients(training_loss(output, labels, loss="ce", weights=weights, smoothing=0.2), expected, logits)


def test_only_hard_pixels_count() -> None:
    logits, labels, weights = example()
    known = labels != 255
    right = logits.softmax(1).gather(1, torch.where(known, labels, 0)[:, None])[:, 0]
    hard = known & (right < 0.4)
    assert 0 < hard.sum() < known.sum()
    each = F.cross_entropy(logits, torch.where(known, labels, 0), reduction="none")
    expected = (each[hard] * weights[hard]).sum() / weights[known].sum()
    value = training_loss(TrainOutput(logits, None, {}), labels, loss="ce", weights=weights, hard_below=0.4)
    same_with_gradients(value, expected, logits)
