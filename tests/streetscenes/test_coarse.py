"""Coarse labels, and the tracing and simplification of their outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from streetscenes import Label, coarse_label, render
from streetscenes.outlines import area, simplify, trace

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
LABELS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
    elements=st.sampled_from([0, 1, 8, 255]),
)


def components(mask: npt.NDArray[np.bool_]) -> int:
    """Number of 4-connected regions, by flooding."""
    left, count = {tuple(spot) for spot in np.argwhere(mask).tolist()}, 0
    while left:
        count, stack = count + 1, [left.pop()]
        while stack:
            row, column = stack.pop()
            for spot in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if spot in left:
                    left.remove(spot)
                    stack.append(spot)
    return count


@given(MASKS)
def test_outlines_enclose_every_region_once(mask: npt.NDArray[np.bool_]) -> None:
    areas = [area(outline) for outline in trace(mask)]
    assert sum(areas) == mask.sum()
    assert sum(value > 0 for value in areas) == components(mask)


def test_a_hole_has_an_outline_of_its_own() -> None:
    mask = np.ones((5, 6), bool)
    mask[2, 2:4] = False
    assert sorted(area(outline) for outline in trace(mask)) == [-2, 30]


def test_simplify_keeps_within_tolerance() -> None:
    rng = np.random.default_rng(0)
    disc = np.hypot(*np.mgrid[-20:21, -20:21]) < 18 + rng.normal(0, 0.5, (41, 41))
    outline = max(trace(disc), key=area)
    for tolerance in (0.5, 1.5, 4.0):
        kept = simplify(outline, tolerance)
        starts, steps = kept, np.roll(kept, -1, axis=0) - kept
        position = np.clip(np.einsum("psk,sk->ps", outline[:, None] - starts, steps) / np.sum(steps**2, axis=1), 0, 1)
        nearest = np.linalg.norm(outline[:, None] - starts - position[..., None] * steps, axis=2).min(axis=1)
        assert nearest.max() <= tolerance + 1e-9
    assert len(simplify(outline, 4.0)) < len(simplify(outline, 0.5)) < len(outline)


@pytest.mark.slow
def test_coverage_and_agreement_over_scenes() -> None:
    covered, right, drawn = [], 0, 0
    coarse_pixels, fine_pixels = np.zeros(9), np.zeros(9)
    for index in range(14):
        scene = render(21, index, size=(128, 256))
        known = (scene.coarse != Label.IGNORE) & (scene.fine != Label.IGNORE)
        covered.append((scene.coarse != Label.IGNORE).mean())
        right, drawn = right + (scene.coarse == scene.fine)[known].sum(), drawn + known.sum()
        coarse_pixels += np.bincount(scene.coarse.ravel(), minlength=256)[:9]
        fine_pixels += np.bincount(scene.fine.ravel(), minlength=256)[:9]
    assert 0.65 < np.mean(covered) < 0.85
    assert min(covered) > 0.5
    assert right / drawn > 0.97
    kept = coarse_pixels / fine_pixels
    assert kept[Label.POLE] < 0.2  # thin objects are mostly lost
    assert kept[Label.PERSON] < 0.5
    assert kept[Label.ROAD] > 0.8


def test_small_things_and_borders_are_left_out() -> None:
    label = np.zeros((128, 256), np.uint8)
    label[:, 128:] = 1
    label[10:13, 20:23] = 2  # too small
    label[80:110, 30:70] = 3
    coarse = coarse_label(label)
    assert set(np.unique(coarse)) == {0, 1, 3, 255}
    assert (coarse[:, 127:129] == 255).all()
    assert (coarse[90:100, 45:55] == 3).all()
    assert (coarse[60, 5:100] == 0).all()


def test_an_island_in_a_hole_is_drawn() -> None:
    label = np.zeros((128, 256), np.uint8)
    label[20:110, 40:200] = 1
    label[45:85, 90:150] = 0
    coarse = coarse_label(label)
    assert coarse[65, 120] == 0
    assert coarse[65, 60] == 1
    assert coarse[5, 5] == 0


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_any_label_map(label: npt.NDArray[np.uint8]) -> None:
    before = label.copy()
    coarse = coarse_label(label, seed=1)
    assert coarse.shape == label.shape
    assert coarse.dtype == np.uint8
    assert set(np.unique(coarse)) <= {*np.unique(label), 255}
    assert np.array_equal(coarse, coarse_label(label, seed=1))
    assert np.array_equal(label, before)


def test_the_seed_moves_the_hand() -> None:
    fine = render(0, 0, size=(128, 256)).fine
    first, second = coarse_label(fine, seed=1), coarse_label(fine, seed=2)
    assert 0 < (first != second).mean() < 0.1


def test_nothing_to_draw() -> None:
    assert (coarse_label(np.full((20, 30), 255, np.uint8)) == 255).all()


@pytest.mark.slow
def test_large_labels_are_treated_as_small_ones() -> None:
    small = render(4, 2, size=(256, 512)).fine
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    assert (coarse_label(large)[2::4, 2::4] == coarse_label(small)).mean() > 0.98


@pytest.mark.slow
def test_real_labels(shared: Path) -> None:
    folder = shared / "camvid" / "trainannot"
    for path in sorted(folder.glob("*.png"))[::60]:
        label = np.array(Image.open(path))
        label[label == 11] = 255
        coarse = coarse_label(label)
        known = (coarse != 255) & (label != 255)
        assert 0.55 < (coarse != 255).mean() < 0.95
        assert (coarse == label)[known].mean() > 0.96
