from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.classes import IGNORE
from autolabel.data.sampling import EpochSampler, SamplingGroup, SamplingPhase, class_centroid
from tests.helpers.paths import ROOT


def sampler(*, num_items: int = 7, seed: int = 5, epoch_images: int = 20, class_uniform: float = 0.5) -> EpochSampler:
    # Class 0 everywhere, class 1 nowhere, class 2 in one image only.
    phase = SamplingPhase(1, (SamplingGroup(range(num_items), (np.arange(num_items), np.arange(0), np.array([3]))),))
    return EpochSampler((phase,), seed, epoch_images, class_uniform)


def reference_centroids(label: np.ndarray, tile: int, num_classes: int) -> list[tuple[int, float, float]]:
    """Class, mean y and mean x of its pixels, tile by tile."""
    rows = []
    for top in range(0, label.shape[0], tile):
        for left in range(0, label.shape[1], tile):
            part = label[top : top + tile, left : left + tile]
            for class_id in range(num_classes):
                ys, xs = np.nonzero(part == class_id)
                if len(ys):
                    rows.append((class_id, top + ys.mean(), left + xs.mean()))
    return rows


@pytest.mark.slow
@given(st.integers(0, 10_000), st.sampled_from([5, 16, 64]))
@settings(max_examples=40, deadline=None)
def test_centroids_lie_on_the_pixel_of_their_class_nearest_to_its_mean(seed: int, tile: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.choice([0, 1, 2, 3, IGNORE], size=(6, 8), p=[0.5, 0.2, 0.05, 0.05, 0.2]).astype(np.uint8)
    label = np.kron(blocks, np.ones((4, 5), np.uint8))
    for class_id in range(3):
        expected = [(y, x) for of, y, x in reference_centroids(label, tile, 3) if of == class_id]
        for number, (mean_y, mean_x) in enumerate(expected):
            y, x = class_centroid(label, class_id, tile=tile, position=(number + 0.5) / len(expected))
            assert label[y, x] == class_id
            ys, xs = np.nonzero(label == class_id)
            same_tile = (ys // tile == y // tile) & (xs // tile == x // tile)
            best = np.hypot(ys[same_tile] - mean_y, xs[same_tile] - mean_x).min()
            assert np.hypot(y - mean_y, x - mean_x) == pytest.approx(best)


def test_items_depend_on_seed_and_epoch_only() -> None:
    first = sampler()
    forwards = [first.items(epoch) for epoch in range(5)]
    backwards = [sampler().items(epoch) for epoch in reversed(range(5))][::-1]
    assert forwards == backwards
    assert forwards[0] != forwards[1]
    assert forwards[0] != sampler(seed=6).items(0)


@pytest.mark.slow
def test_items_are_the_same_in_another_process() -> None:
    code = "from tests.data.test_sampling import sampler; print(sampler().items(3))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(sampler().items(3))


def test_the_class_uniform_share_is_exact_and_uniform_over_present_classes() -> None:
    items = [item for epoch in range(200) for item in sampler(class_uniform=0.3).items(epoch)]
    by_class = Counter(item.class_id for item in items)
    assert by_class[None] == 200 * 14
    assert by_class[1] == 0
    assert by_class[2] == pytest.approx(600, abs=75)  # 1,200 draws, sigma 17
    assert {item.index for item in items if item.class_id == 2} == {3}
    tiles = [item.tile_position for item in items if item.class_id is not None]
    assert np.histogram(tiles, bins=4, range=(0, 1))[0] == pytest.approx(300, abs=75)  # sigma 15


@pytest.mark.parametrize(("epoch_images", "class_uniform"), [(20, 0.0), (20, 0.5), (3, 0.0), (5, 0.4)])
def test_the_rest_visits_all_images_equally_often(epoch_images: int, class_uniform: float) -> None:
    drawing = sampler(epoch_images=epoch_images, class_uniform=class_uniform)
    seen: Counter[int] = Counter(dict.fromkeys(range(7), 0))
    for epoch in range(9):
        items = drawing.items(epoch)
        assert len(items) == epoch_images
        seen.update(item.index for item in items if item.class_id is None)
        assert max(seen.values()) - min(seen.values()) <= 1


def test_without_any_labelled_pixel_everything_is_drawn_plainly() -> None:
    none = (np.arange(0),) * 3
    items = EpochSampler(
        (SamplingPhase(1, (SamplingGroup(range(4), none),)),), seed=0, epoch_images=8, class_uniform=1.0
    ).items(0)
    assert Counter(item.index for item in items) == {0: 2, 1: 2, 2: 2, 3: 2}


def test_a_wholly_class_uniform_epoch_draws_nothing_plainly() -> None:
    assert all(item.class_id is not None for item in sampler(class_uniform=1.0).items(2))
