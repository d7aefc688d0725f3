from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from autolabel.classes import IGNORE
from autolabel.config.networks import AugmentConfig
from autolabel.data.augment import classmix, cutmix, draw_mix

SEEDS = st.integers(0, 10_000)


def scene(seed: int, size: tuple[int, int] = (12, 20)) -> np.ndarray:
    """Few classes an image, and ignored pixels."""
    rng = np.random.default_rng(seed)
    return rng.choice([*rng.integers(0, 19, 4), 254, IGNORE], size=size).astype(np.uint8)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_classmix_pastes_half_of_the_classes_whole_and_never_what_is_ignored(seed: int) -> None:
    label = scene(seed)
    mask = classmix(label, np.random.default_rng(seed))
    present = [c for c in range(IGNORE) if (label == c).any()]
    pasted = [c for c in present if mask[label == c].any()]
    assert len(pasted) == -(-len(present) // 2)
    for y in range(label.shape[0]):
        for x in range(label.shape[1]):
            assert mask[y, x] == (label[y, x] in pasted)


def test_every_class_gets_its_turn_in_classmix() -> None:
    label = np.arange(4, dtype=np.uint8)[None]
    counts = sum(classmix(label, np.random.default_rng(seed)).astype(int) for seed in range(400))
    assert counts[0] == pytest.approx([200] * 4, abs=50)  # sigma 10


def test_classmix_of_nothing_labelled_pastes_nothing() -> None:
    assert not classmix(np.full((4, 5), IGNORE, np.uint8), np.random.default_rng(0)).any()


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_cutmix_against_the_published_box(seed: int) -> None:
    """`rand_bbox` of the authors: lam is the share of the image below that is kept."""
    label = scene(seed, (30, 50))
    share, y, x = np.random.default_rng(seed).random(3)
    lam = 1 - share
    height, width = int(30 * np.sqrt(1 - lam)), int(50 * np.sqrt(1 - lam))
    cy, cx = int(30 * y), int(50 * x)
    expected = np.zeros((30, 50), bool)
    top, bottom = np.clip([cy - height // 2, cy + height // 2], 0, 30)
    left, right = np.clip([cx - width // 2, cx + width // 2], 0, 50)
    expected[top:bottom, left:right] = True
    np.testing.assert_array_equal(cutmix(label, np.random.default_rng(seed)), expected)


def test_how_often_what_is_drawn() -> None:
    table = AugmentConfig(cutmix=0.2, classmix=0.5)
    drawn = [draw_mix(table, np.random.default_rng(seed)) for seed in range(1000)]
    assert [drawn.count(mix) for mix in (cutmix, classmix, None)] == pytest.approx([200, 500, 300], abs=60)
    assert draw_mix(AugmentConfig(), np.random.default_rng(0)) is None


def test_more_than_always_is_refused() -> None:
    with pytest.raises(ValidationError, match="add up to 1 at most"):
        AugmentConfig(cutmix=0.6, classmix=0.5)
