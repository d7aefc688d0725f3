"""Losses and gradients against reference losses, and inputs that crash other implementations."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.losses import LossNormalizer, bce_loss, cross_entropy, loss_normalizer, rmi_loss, training_loss
from autolabel.losses.lovasz import cross_entropy_and_lovasz, lovasz_softmax
from autolabel.losses.rmi import pooled_labels
from autolabel.models import TrainOutput
from tests.losses.plain_losses import example, one_hot, plain_bce, plain_total

Loss = Callable[..., torch.Tensor]
LOSSES: list[Loss] = [cross_entropy, bce_loss, rmi_loss, lovasz_softmax]


@settings(max_examples=25, deadline=None)
@given(height=st.integers(8, 37), width=st.integers(8, 37), classes=st.integers(1, 4), seed=st.integers(0, 5))
def test_rmi_against_the_plain_form(height: int, width: int, classes: int, seed: int) -> None:
    logits, labels = example(height, width, classes=classes, seed=seed)
    value, expected = rmi_loss(logits, labels), plain_total(logits, labels)
    assert value.item() == pytest.approx(expected.item(), abs=1e-8)
    (got,), (want,) = torch.autograd.grad(value, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-7 * want.abs().max().item() + 1e-12)


# Strips of a row of cells, two rows, two images, everything.
@pytest.mark.parametrize("strip_bytes", [1, 8 * 3 * 8 * 24, 2 * 8 * 3 * 28 * 24, 2**40])
@pytest.mark.parametrize("loss", LOSSES)
def test_strips_do_not_change_the_result(loss: Loss, strip_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (two, labels), (third, more) = example(23, 20), example(23, 20, seed=1)
    logits, labels = torch.cat([two, third[:1]]), torch.cat([labels, more[:1]])
    whole = loss(logits, labels)
    expected = torch.autograd.grad(whole, logits)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    for module in ("tiling", "rmi_statistics"):
        monkeypatch.setattr(f"autolabel.losses.{module}.CPU_BYTES", strip_bytes)
    value = loss(logits, labels)
    torch.testing.assert_close(value, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(value, logits), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss: Loss) -> None:
    logits, labels = example(9, 12, classes=2)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), classes=st.integers(1, 5))
def test_labels_are_pooled_by_counting(height: int, width: int, classes: int) -> None:
    _, labels = example(height, width, classes=classes)
    expected = F.avg_pool2d(one_hot(labels, classes), 4, 4, 2)
    assert torch.equal(pooled_labels(labels, classes) / 16, expected.float())


def test_bce_and_cross_entropy_against_torch() -> None:
    logits, labels = example(13, 11)
    torch.testing.assert_close(bce_loss(logits, labels), plain_bce(logits, labels))
    torch.testing.assert_close(cross_entropy(logits, labels), F.cross_entropy(logits, labels, ignore_index=255))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_value_that_is_no_class_is_ignored(loss: Loss) -> None:
    logits, labels = example(16, 16)
    expected = loss(logits, labels)
    for value in (3, 77, -1):
        assert loss(logits, torch.where(labels == 255, value, labels)) == expected
    assert loss(logits, labels.to(torch.uint8)) == expected
    changed = torch.where((labels == 255)[:, None], 1e3, logits)
    assert loss(changed, labels) == expected


@pytest.mark.parametrize("loss", LOSSES)
def test_a_crop_with_nothing_to_learn(loss: Loss) -> None:
    logits, labels = example(16, 16)
    value = loss(logits, torch.full_like(labels, 255))
    assert value.isfinite()
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient.any()


@pytest.mark.parametrize("size", [(1, 1), (7, 64), (64, 7)])
def test_below_one_neighbourhood_bce_stands_alone(size: tuple[int, int]) -> None:
    logits, labels = example(*size)
    assert rmi_loss(logits, labels) == bce_loss(logits, labels)


def test_an_absent_class_gives_the_known_negative_value() -> None:
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    logits = torch.full((1, 2, 64, 64), -40.0, dtype=torch.float64)
    logits[:, 0] = 40
    both, one = rmi_loss(logits, labels), rmi_loss(logits[:, :1], labels)  # their BCE is zero
    assert (both - one).item() == pytest.approx(0.5 * 0.5 * math.log(5e-4), abs=1e-4)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 20.0, 90.0, 1e4])
def test_predictions_near_the_label_do_not_crash(sharpness: float) -> None:
    """A float32 factorisation fails where p is close to y."""
    _, labels = example(64, 64)
    labels = torch.where(labels == 255, 0, labels)
    logits = (sharpness * (2 * one_hot(labels, 3) - 1)).float().requires_grad_()
    value = rmi_loss(logits, labels)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_logits_that_are_not_finite_give_a_loss_that_is_not_finite() -> None:
    logits, labels = example(16, 16)
    labels[0, 5, 5] = 1
    for value in (math.nan, math.inf):
        broken = logits.detach().clone()
        broken[0, 0, 5, 5] = value
        broken.requires_grad_()
        loss = rmi_loss(broken, labels)
        assert not loss.isfinite()
        loss.backward()


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_widened(loss: Loss) -> None:
    logits, labels = example(32, 32)
    half = logits.detach().to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(half, labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(half.double(), labels).item(), rel=1e-5, abs=1e-5)


@pytest.fixture
def output() -> TrainOutput:
    maps = [example(16, 24, seed=seed)[0].detach().float() for seed in range(4)]
    return TrainOutput(maps[0], maps[1], {0.5: maps[2], 1.0: maps[3]})


@pytest.mark.parametrize(
    ("name", "main", "side"),
    [
        ("rmi", rmi_loss, bce_loss),
        ("bce", bce_loss, bce_loss),
        ("ce", cross_entropy, cross_entropy),
        ("lovasz", cross_entropy_and_lovasz, cross_entropy),
    ],
)
def test_the_whole_loss_is_the_weighted_sum(output: TrainOutput, name: str, main: object, side: object) -> None:
    labels = example(16, 24)[1]
    low, high = output.per_scale.values()
    expected = main(output.fused, labels) + 0.4 * side(output.fused_aux, labels)
    expected = expected + 0.05 * side(low, labels) + 0.05 * side(high, labels)
    assert training_loss(output, labels, loss=name).item() == pytest.approx(expected.item(), rel=1e-6)
    bare = TrainOutput(output.fused, None, {})
    assert training_loss(bare, labels, loss=name) == main(output.fused, labels)
    assert training_loss(output, labels, loss=name, aux_weight=0, scale_weight=0) == main(output.fused, labels)


def part(output: TrainOutput, images: slice) -> TrainOutput:
    assert output.fused_aux is not None
    scales = {scale: logits[images] for scale, logits in output.per_scale.items()}
    return TrainOutput(output.fused[images], output.fused_aux[images], scales)


@pytest.mark.parametrize("size", [(16, 24), (7, 24)])
@pytest.mark.parametrize("name", ["rmi", "bce", "ce", "lovasz"])
def test_parts_of_a_batch_add_up_to_the_whole(name: str, size: tuple[int, int]) -> None:
    """Micro-batches and processes: uneven parts, one without valid pixels, normalisers summed over the parts."""
    maps = [torch.cat([example(*size, seed=s)[0] for s in (seed, seed + 9)]) for seed in range(4)]
    labels = torch.cat([example(*size, seed=s)[1] for s in (0, 1)])
    labels[0, :5], labels[3] = 255, 255
    output = TrainOutput(maps[0], maps[1], {0.5: maps[2], 1.0: maps[3]})
    whole = training_loss(output, labels, loss=name)
    expected = torch.autograd.grad(whole, maps)
    parts = [slice(0, 1), slice(1, 3), slice(3, 4)]
    images, valid = zip(*(loss_normalizer(labels[p].to(torch.uint8), 3) for p in parts), strict=True)
    counts = LossNormalizer(sum(images), sum(valid))
    losses = [training_loss(part(output, p), labels[p], loss=name, counts=counts) for p in parts]
    assert sum(losses).item() == pytest.approx(whole.item(), rel=1e-13)
    got = torch.autograd.grad(sum(losses), maps)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-15)
    assert training_loss(part(output, parts[0]), labels[:1], loss=name) != losses[0]
