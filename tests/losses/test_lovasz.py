"""The Lovász-Softmax loss against its definition over sets of wrong pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.losses.lovasz import BINS, cross_entropy_and_lovasz, lovasz_softmax
from autolabel.losses.pixelwise import cross_entropy
from tests.losses.plain_losses import example


def plain_lovasz(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Equations 8 to 11 with sets: pixels become wrong one by one, those of the largest errors first."""
    images = []
    for image, truth in zip(logits.softmax(1).flatten(2), labels.flatten(1), strict=True):
        known = [i for i, label in enumerate(truth.tolist()) if 0 <= label < logits.shape[1]]
        terms = []
        for index in sorted({int(truth[i]) for i in known}):
            of_class = {i for i in known if truth[i] == index}
            error = {i: 1 - image[index, i] if i in of_class else image[index, i] for i in known}
            wrong: set[int] = set()
            before, term = 0.0, image.new_zeros(())
            for i in sorted(known, key=lambda i: -error[i].item()):
                wrong.add(i)
                after = 1 - len(of_class - wrong) / len(of_class | wrong)
                term = term + error[i] * (after - before)
                before = after
            terms.append(term)
        images.append(torch.stack(terms).mean() if terms else image.new_zeros(()))
    return torch.stack(images).mean()


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), classes=st.integers(1, 4), seed=st.integers(0, 5))
def test_against_the_definition(height: int, width: int, classes: int, seed: int) -> None:
    """Errors of one bin may be sorted wrongly: the right order gives the largest sum, so the loss is a little lower."""
    logits, labels = example(height, width, classes=classes, seed=seed)
    difference = (plain_lovasz(logits, labels) - lovasz_softmax(logits, labels)).item()
    assert -1e-12 <= difference <= 1 / BINS


def test_gradients_where_each_bin_has_one_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.losses.lovasz.BINS", 2**20)
    logits, labels = example(9, 8, classes=4, seed=2)
    value, expected = lovasz_softmax(logits, labels), plain_lovasz(logits, labels)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    (got,), (want,) = torch.autograd.grad(value, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_sure_predictions_give_one_minus_iou() -> None:
    """At the corners of the cube the loss is the set function itself (section 2.2)."""
    truth = torch.tensor([[[0, 0, 1, 1, 1, 255]]])
    predicted = torch.tensor([[[0, 1, 1, 1, 0, 0]]])
    logits = torch.nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2) * 100.0
    assert lovasz_softmax(logits, truth).item() == pytest.approx((1 - 1 / 3 + 1 - 2 / 4) / 2)
    known = torch.where(truth == 255, 255, predicted)
    assert lovasz_softmax(logits, known).item() == pytest.approx(0, abs=1e-6)


def test_it_is_added_to_the_cross_entropy() -> None:
    logits, labels = example(8, 12)
    weights = torch.rand(labels.shape) + 0.5
    expected = cross_entropy(logits, labels, weights=weights) + lovasz_softmax(logits, labels)
    torch.testing.assert_close(cross_entropy_and_lovasz(logits, labels, weights=weights), expected)


def test_pixels_without_weight_are_ignored() -> None:
    logits, labels = example(8, 12)
    weights = (torch.rand(labels.shape) < 0.5).float()
    ignored = torch.where(weights == 0, 255, labels)
    assert lovasz_softmax(logits, labels, weights=weights) == lovasz_softmax(logits, ignored)
    assert lovasz_softmax(logits, labels) != lovasz_softmax(logits, ignored)


def test_ties_have_the_same_bits_each_time() -> None:
    logits = torch.zeros(2, 3, 40, 40, requires_grad=True)
    labels = example(40, 40)[1]
    first, second = (torch.autograd.grad(lovasz_softmax(logits, labels), logits)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert first.any()
