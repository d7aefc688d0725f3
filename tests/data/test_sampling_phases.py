from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from autolabel.config.networks import PhaseConfig, TrainConfig
from autolabel.data.sampling import EpochSampler, SampleSpec, check_phases, plan_phases
from autolabel.errors import ConfigError

NAMES = ("road", "car", "train")
LAYERS = ["fine", "auto", "fine", "auto", "coarse", "auto", "fine"]
# Every image shows every class.
IMAGES_BY_CLASS = (np.arange(len(LAYERS)),) * 3
FINE = PhaseConfig(layers=("fine",))


def table(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": 6, "class_uniform": 0.5, **changes})


def sampler(settings: TrainConfig, seed: int = 3, epoch_images: int = 8) -> EpochSampler:
    sampling_phases = plan_phases(settings, layers=LAYERS, names=NAMES, images_by_class=IMAGES_BY_CLASS)
    return EpochSampler(sampling_phases, seed, epoch_images, settings.class_uniform)


def layers_of(items: list[SampleSpec]) -> set[str]:
    return {LAYERS[item.index] for item in items}


def test_without_phases_everything_is_drawn_all_the_time() -> None:
    drawing = sampler(table())
    items = [item for epoch in range(6) for item in drawing.items(epoch)]
    assert {item.index for item in items if item.class_id is None} == set(range(7))
    assert {item.index for item in items if item.class_id is not None} == set(range(7))


def test_the_published_recipe() -> None:
    """Evenly drawn: fine. Class-uniform: of auto labels the chosen classes only; at the end fine labels alone."""
    phases = (PhaseConfig(layers=("fine",), uniform=("fine", "auto")), PhaseConfig(layers=("fine",), epochs=2))
    drawing = sampler(table(phases=phases, uniform_classes=("train",), epochs=40), epoch_images=16)
    early = [item for epoch in range(38) for item in drawing.items(epoch)]
    assert layers_of([item for item in early if item.class_id is None]) == {"fine"}
    drawn = Counter((NAMES[i.class_id], LAYERS[i.index]) for i in early if i.class_id is not None)
    assert drawn.keys() == {("road", "fine"), ("car", "fine"), ("train", "fine"), ("train", "auto")}
    assert drawn["train", "auto"] == pytest.approx(38 * 8 / 6, abs=25)  # three images of either layer; sigma 7
    assert layers_of(drawing.items(38) + drawing.items(39)) == {"fine"}


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_fine_auto_fine(first: int, last: int, epoch_images: int, class_uniform: float, seed: int) -> None:
    phases = (
        PhaseConfig(layers=("fine",), epochs=first),
        PhaseConfig(layers=("auto",)),
        PhaseConfig(layers=("fine",), epochs=last),
    )
    settings_ = table(epochs=first + last + 3, phases=phases, class_uniform=class_uniform)
    drawing = sampler(settings_, seed, epoch_images)
    epochs = [drawing.items(epoch) for epoch in range(settings_.epochs)]
    assert epochs == [sampler(settings_, seed, epoch_images).items(e) for e in reversed(range(settings_.epochs))][::-1]
    wanted = ["fine"] * first + ["auto"] * 3 + ["fine"] * last
    assert [layers_of(items) for items in epochs] == [{layer} for layer in wanted]
    assert {len(items) for items in epochs} == {epoch_images}
    # One walk through the fine images, and one through the others.
    seen = Counter(item.index for items in epochs for item in items if item.class_id is None)
    for layer in ("fine", "auto"):
        counts = [seen[index] for index, other in enumerate(LAYERS) if other == layer]
        assert max(counts) - min(counts) <= 1


def test_a_later_phase_does_not_restart_its_walk() -> None:
    phases = (PhaseConfig(layers=("fine",), uniform=("auto",), epochs=1), PhaseConfig(layers=("fine",)))
    drawing = sampler(table(phases=phases, class_uniform=0.5, epochs=3), epoch_images=2)
    assert {item.index for epoch in range(3) for item in drawing.items(epoch) if item.class_id is None} == {0, 2, 6}


def test_without_class_uniform_draws_no_classes_are_needed() -> None:
    sampling_phases = plan_phases(table(phases=(FINE,)), layers=LAYERS, names=NAMES, images_by_class=())
    assert (
        list(sampling_phases[0].groups[0].images),
        sampling_phases[0].epochs,
        sampling_phases[0].groups[0].images_by_class,
    ) == (
        [0, 2, 6],
        6,
        (),
    )


def test_a_layer_that_no_image_has_is_refused() -> None:
    phases = (FINE, PhaseConfig(layers=("coarse", "auto"), epochs=1))
    check_phases(table(phases=phases), layers={"fine", "auto"}, names=NAMES)
    with pytest.raises(
        ConfigError, match="phase 2 draws from coarse and auto, and there is no such label; there are f"
    ):
        check_phases(table(phases=phases), layers={"fine"}, names=NAMES)
    with pytest.raises(ConfigError, match="uniform_classes: no class is named 'trai'; did you mean 'train'"):
        check_phases(table(uniform_classes=("trai",)), layers={"fine"}, names=NAMES)


@pytest.mark.parametrize("epochs", [(6,), (None,), (4, 2), (None, 5), (1, None, 1)])
def test_phases_fill_the_epochs(epochs: tuple[int | None, ...]) -> None:
    phases = tuple(PhaseConfig(layers=("fine",), epochs=number) for number in epochs)
    sampling_phases = plan_phases(table(phases=phases), layers=LAYERS, names=NAMES, images_by_class=IMAGES_BY_CLASS)
    assert sum(phase.epochs for phase in sampling_phases) == 6
    assert all(number in (None, phase.epochs) for number, phase in zip(epochs, sampling_phases, strict=True))


@pytest.mark.parametrize("epochs", [(5,), (4, 3), (None, 6), (None, None)])
def test_phases_that_do_not_are_refused(epochs: tuple[int | None, ...]) -> None:
    with pytest.raises(ValidationError, match="must add up to epochs = 6"):
        table(phases=tuple(PhaseConfig(layers=("fine",), epochs=number) for number in epochs))
