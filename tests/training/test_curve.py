"""The curve of a training, and validations that only show progress."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.training import loop
from autolabel.training.curve import POINTS, Curve
from autolabel.training.loop import observed_steps
from tests.training.tiny_training import digest, network, settings, train

OBSERVED = {"validate_every": 0, "epochs": 24, "validate_images": 1}  # 60 steps, validated after 15, 30, 45 and 60


def step(number: int, loss: float | None) -> dict:
    return {"step": number, "loss": loss, "lr": 1 / number}


@pytest.mark.parametrize("total", [1, 7, POINTS, POINTS + 1, 1234])
def test_points_are_means_over_equally_many_steps(total: int) -> None:
    curve, losses = Curve(total), np.random.default_rng(0).normal(size=total)
    for number, loss in enumerate(losses, start=1):
        curve.add_step(step(number, loss))
    points = curve.result()["steps"]
    assert len(points) <= POINTS
    each = points[0]["step"]
    assert [p["step"] for p in points] == [*range(each, total, each), total]
    means = [losses[start : start + each].mean() for start in range(0, total, each)]
    np.testing.assert_allclose([p["loss"] for p in points], means)
    assert [p["lr"] for p in points] == [1 / p["step"] for p in points]


def test_steps_without_a_finite_loss_count_nothing() -> None:
    curve = Curve(400)
    for number, loss in enumerate([1.0, None, None, None], start=1):
        curve.add_step(step(number, loss))
    assert [p["loss"] for p in curve.result()["steps"]] == [1.0, None]


def test_a_training_shows_four_validations_and_its_weights_do_not_depend_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, silent = network(), network()
    result = train(shown, table=settings(**OBSERVED, keep_best=True))
    monkeypatch.setattr(loop, "observed_steps", lambda *_, **__: frozenset())
    assert len(train(silent, table=settings(**OBSERVED, keep_best=True)).curve["validations"]) == 1
    assert [point["step"] for point in result.curve["validations"]] == [15, 30, 45, 60]
    assert [row["step"] for row in result.history] == [60]
    assert digest(shown) == digest(silent)


def test_a_resumed_training_has_the_same_curve() -> None:
    table, saved, rows = settings(**OBSERVED), [], []
    whole = train(network(), table=table, saved=saved)
    again = train(network(), table=table, resume=saved[29], rows=rows)  # before the validation after step 30
    assert again.curve == whole.curve
    assert rows[0] == {"kind": "resume", "step": 30}


def test_validations_that_decide_nothing_see_a_fifth_of_the_images_at_most() -> None:
    table = settings(batch=2, validate_every=0)
    assert observed_steps(table, total_steps=300, val_images=40) == {75, 150, 225}
    assert observed_steps(table, total_steps=300, val_images=41) == frozenset()
    assert observed_steps(table, total_steps=300, val_images=0) == {75, 150, 225}
    assert observed_steps(settings(validate_every=3), total_steps=300, val_images=1) == frozenset()
    assert observed_steps(settings(batch=64, validate_every=0), total_steps=2, val_images=1) == {1}
