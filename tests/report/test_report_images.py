"""Images, decoded again and compared with their data."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from autolabel.report.images import VERDICT_COLOURS, blend, label_map, photo, verdict, weight_map

COLOURS = np.random.default_rng(0).integers(60, 256, (256, 3), dtype=np.uint8)
HATCH = {(24, 25, 29), (134, 139, 148)}
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
labels = hnp.arrays(np.uint8, shapes, elements=st.sampled_from([0, 1, 2, 254, 255]))


def decoded(embedded):
    head, data = embedded.uri.split(",")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert head == f"data:image/{image.format.lower()};base64"
    assert image.size == (embedded.width, embedded.height)
    return np.array(image.convert("RGB"))


@given(labels)
def test_label_map_shows_the_palette_and_hatches_what_is_ignored(values):
    shown = decoded(label_map(values, COLOURS))
    for pixel, value in zip(shown.reshape(-1, 3).tolist(), values.ravel().tolist(), strict=True):
        assert tuple(pixel) in HATCH if value == 255 else pixel == COLOURS[value].tolist()


def test_hatch_has_two_tones():
    shown = decoded(label_map(np.full((20, 20), 255, np.uint8), COLOURS))
    assert {tuple(p) for p in shown.reshape(-1, 3).tolist()} == HATCH


@given(st.integers(1, 40))
def test_more_colours_than_a_palette_holds(seed):
    values = np.random.default_rng(seed).integers(0, 255, (8, 600), dtype=np.uint8)
    shown = decoded(label_map(values, COLOURS, width=300))
    pairs = COLOURS[values].astype(float).reshape(4, 2, 300, 2, 3).mean(axis=(1, 3))
    assert shown.shape == (4, 300, 3)
    assert np.abs(shown - pairs).max() <= 1


def test_thin_things_fade_instead_of_breaking():
    values = np.zeros((64, 64), np.uint8)
    values[:, 32] = 1
    shown = decoded(label_map(values, COLOURS, width=16))
    assert (shown[:, 8] != COLOURS[0]).any(axis=-1).all()


def test_the_table_has_no_say_in_how_ignored_pixels_look():
    colours = np.full((256, 3), 50, np.uint8)
    colours[255] = 250
    values = np.where(np.arange(90) % 3 == 0, 255, 0).astype(np.uint8)[None].repeat(30, axis=0)
    assert decoded(label_map(values, colours, width=30)).max() <= 70


@pytest.mark.slow
@given(labels, st.randoms())
def test_verdict_equals_a_loop(values, random):
    reference = values.copy()
    flat = reference.ravel()
    for index in range(flat.size):
        if random.random() < 0.5:
            flat[index] = random.choice([0, 1, 255])
    shown = decoded(verdict(values, reference))
    for pixel, value, true in zip(shown.reshape(-1, 3).tolist(), values.ravel(), reference.ravel(), strict=True):
        if true == 255:
            assert tuple(pixel) == VERDICT_COLOURS["unjudged"]
        elif value == 255:
            assert tuple(pixel) in HATCH
        else:
            assert tuple(pixel) == VERDICT_COLOURS["right" if value == true else "wrong"]


@pytest.mark.parametrize(("shape", "size"), [((100, 2000), (640, 32)), ((2000, 641), (640, 1997)), ((5, 7), (7, 5))])
def test_only_scales_down_and_keeps_the_aspect(shape, size):
    embedded = photo(np.zeros((*shape, 3), np.uint8))
    assert (embedded.width, embedded.height) == size


def test_photo_looks_like_the_image():
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    image = np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 90, np.uint8)], -1)
    assert np.abs(decoded(photo(image)).astype(int) - image).mean() < 3


def test_weights_are_grey_and_one_is_white():
    weights = np.repeat([0.0, 0.5, 1.0], 16)[None].repeat(16, axis=0)
    shown = decoded(weight_map(weights)).astype(int)
    assert np.abs(shown[:, [3, 24, 44]] - [[[0], [128], [255]]]).max() <= 4
    assert (np.ptp(shown, axis=-1) <= 2).all()


def test_blend_leaves_ignored_pixels_alone():
    image = np.full((16, 32, 3), 100, np.uint8)
    values = np.zeros((16, 32), np.uint8)
    values[:, 16:] = 255
    shown = decoded(blend(image, values, COLOURS)).astype(int)
    assert np.abs(shown[:, 24:] - 100).max() <= 4
    assert np.abs(shown[:, :8] - (100 * 0.45 + COLOURS[0] * 0.55)).max() <= 8


def test_same_array_same_bytes():
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert photo(image) == photo(image.copy())
