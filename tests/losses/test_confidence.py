"""Losses with a confidence per pixel, against reference losses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from autolabel.losses import LossNormalizer, bce_loss, cross_entropy, loss_normalizer, rmi_loss, training_loss
from autolabel.models import TrainOutput

LOSSES: list[Callable[..., torch.Tensor]] = [cross_entropy, bce_loss, rmi_loss]


def example(batch: int = 2, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, 12, 17, dtype=torch.float64, generator=generator).requires_grad_()
    labels = torch.randint(0, classes + 1, (batch, 12, 17), generator=generator)
    confidence = torch.randint(0, 256, labels.shape, generator=generator, dtype=torch.uint8)
    return logits, torch.where(labels == classes, 255, labels), confidence


def plain(logits: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor) -> dict[str, torch.Tensor]:
    known, factor = labels != 255, confidence.double() / 255
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
    logits, labels, confidence = example()
    same_with_gradients(loss(logits, labels, confidence=confidence), plain(logits, labels, confidence)[name], logits)


def test_confidence_changes_only_the_bce_of_rmi() -> None:
    logits, labels, confidence = example()
    region = rmi_loss(logits, labels) - 0.5 * bce_loss(logits, labels)
    expected = region + 0.5 * plain(logits, labels, confidence)["bce"]
    same_with_gradients(rmi_loss(logits, labels, confidence=confidence), expected, logits)


@pytest.mark.parametrize("loss", LOSSES)
def test_full_confidence_is_none(loss: Callable[..., torch.Tensor]) -> None:
    logits, labels, confidence = example()
    same_with_gradients(loss(logits, labels, confidence=torch.full_like(confidence, 255)), loss(logits, labels), logits)


@pytest.mark.parametrize("loss", [cross_entropy, bce_loss])
def test_zero_confidence_is_ignore(loss: Callable[..., torch.Tensor]) -> None:
    logits, labels, confidence = example()
    confidence = torch.where(confidence < 128, 0, 255).to(torch.uint8)
    ignored = torch.where(confidence == 0, 255, labels)
    same_with_gradients(loss(logits, labels, confidence=confidence), loss(logits, ignored), logits)


@pytest.mark.parametrize("loss", ["ce", "bce", "rmi"])
def test_losses_of_parts_add_up(loss: str) -> None:
    logits, labels, confidence = example(batch=3)
    whole = training_loss(TrainOutput(logits, logits, {0.5: logits}), labels, loss=loss, confidence=confidence)
    counts = [loss_normalizer(labels[i : i + 1], 3, confidence[i : i + 1]) for i in range(3)]
    total = LossNormalizer(3, torch.stack([count.valid for count in counts]).sum())
    parts = [
        training_loss(
            TrainOutput(logits[i : i + 1], logits[i : i + 1], {0.5: logits[i : i + 1]}),
            labels[i : i + 1],
            loss=loss,
            counts=total,
            confidence=confidence[i : i + 1],
        )
        for i in range(3)
    ]
    same_with_gradients(torch.stack(parts).sum(), whole, logits)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_confidence_only_the_region_term_is_left(loss: Callable[..., torch.Tensor]) -> None:
    logits, labels, confidence = example()
    value = loss(logits, labels, confidence=torch.zeros_like(confidence))
    expected = rmi_loss(logits, labels) - 0.5 * bce_loss(logits, labels) if loss is rmi_loss else torch.zeros(())
    assert value.item() == pytest.approx(expected.item())
