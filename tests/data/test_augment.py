from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.classes import IGNORE
from autolabel.config.networks import AugmentConfig
from autolabel.data.augment import augment, colour_matrix, draw_params
from autolabel.data.loaders import Sample

OFF = AugmentConfig(scale=(1.0, 1.0), flip=0.0, colour=0.0, blur=0.0)
FILL = (124, 116, 104)


def scene(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, rng.integers(0, 19, (height, width), dtype=np.uint8)


def ramp(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates painted into the image, a class id a column or row block into the label."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 77)], axis=-1).astype(np.uint8)
    return image, ((y // 16) * 16 + x // 16).astype(np.uint8)


def view(image: np.ndarray, label: np.ndarray, *, seed: int, **options: object) -> tuple[np.ndarray, np.ndarray]:
    seen = view_of(Sample(image, label), seed=seed, **options)
    return seen.image, seen.label


def view_of(sample: Sample, *, seed: int, **options: object) -> Sample:
    arguments: dict = {"settings": OFF, "crop": sample.label.shape, "centre": None, "fill": FILL, **options}
    return augment(sample, rng=np.random.default_rng(seed), **arguments)


def test_confidence_takes_the_way_of_its_label() -> None:
    image, label = scene(40, 60)
    for seed in range(20):
        options = {"settings": AugmentConfig(), "crop": (30, 30), "centre": (7, 50)}
        out_image, out_label = view(image, label, seed=seed, **options)
        same_image, same_label, confidence = view_of(Sample(image, label, label + 1), seed=seed, **options)[:3]
        np.testing.assert_array_equal(same_image, out_image)
        np.testing.assert_array_equal(same_label, out_label)
        shown = out_label != IGNORE
        np.testing.assert_array_equal(confidence[shown], out_label[shown] + 1)


def test_with_everything_off_a_full_size_view_is_the_image() -> None:
    image, label = scene(40, 60)
    out_image, out_label = view(image, label, seed=1)
    np.testing.assert_array_equal(out_image, image)
    np.testing.assert_array_equal(out_label, label)


def test_a_crop_at_scale_one_is_exact() -> None:
    image, label = ramp(60, 80)
    out_image, out_label = view(image, label, seed=4, crop=(20, 30))
    top, left = out_image[0, 0, 0], out_image[0, 0, 1]
    np.testing.assert_array_equal(out_image, image[top : top + 20, left : left + 30])
    np.testing.assert_array_equal(out_label, label[top : top + 20, left : left + 30])


@given(st.integers(0, 2**32), st.sampled_from([(64, 96), (200, 200), (48, 160)]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_image_and_label_stay_aligned(seed: int, crop: tuple[int, int], centred: bool) -> None:
    image, label = ramp(160, 240)
    options = AugmentConfig(scale=(0.5, 2.0), flip=0.5, colour=0.0, blur=0.0)
    centre = (100, 31) if centred else None
    out_image, out_label = view(image, label, seed=seed, settings=options, crop=crop, centre=centre)
    shown = out_label != IGNORE
    padding = out_image[~shown]
    np.testing.assert_array_equal(padding, np.broadcast_to(FILL, padding.shape))
    y, x = (out_image[..., i].astype(float) for i in (0, 1))
    block_y, block_x = (out_label // 16).astype(float), (out_label % 16).astype(float)
    # The painted coordinate lies in the block the label names; an output pixel may cover two source pixels, and
    # the bicubic filter overshoots a little at the ends of the ramp.
    tolerance = 2.5
    assert np.all(np.abs(y - (block_y * 16 + 7.5))[shown] <= 8 + tolerance)
    assert np.all(np.abs(x - (block_x * 16 + 7.5))[shown] <= 8 + tolerance)


@given(st.integers(0, 2**32), st.integers(0, 89), st.integers(0, 119), st.sampled_from([(32, 48), (100, 100)]))
@settings(max_examples=80, deadline=None)
def test_a_centred_view_holds_its_pixel_and_stays_inside_where_it_can(
    seed: int, y: int, x: int, crop: tuple[int, int]
) -> None:
    image, _ = scene(90, 120)
    label = np.zeros((90, 120), np.uint8)
    label[y, x] = 1
    options = AugmentConfig(scale=(1.0, 2.0), flip=0.5)  # enlarging, so that nearest cannot skip the pixel
    out_image, out_label = view(image, label, seed=seed, settings=options, crop=crop, centre=(y, x))
    assert out_image.shape == (*crop, 3)
    assert (out_label == 1).any()
    scale = draw_params(options, np.random.default_rng(seed)).scale
    if crop[0] / scale <= 89 and crop[1] / scale <= 119:
        assert not (out_label == IGNORE).any()


@pytest.mark.parametrize("centre", [(0, 0), (0, 119), (89, 0), (89, 119)])
def test_the_corners_can_be_centres(centre: tuple[int, int]) -> None:
    image, _ = scene(90, 120)
    label = np.zeros((90, 120), np.uint8)
    label[centre] = 1
    for seed in range(150):
        out = view(
            image, label, seed=seed, settings=AugmentConfig(scale=(1.0, 1.3), colour=0), crop=(100, 100), centre=centre
        )
        assert (out[1] == 1).any()


def test_same_generator_same_bytes_other_generator_other_bytes() -> None:
    image, label = scene(80, 100)
    options = AugmentConfig(blur=1.0)
    a, b, c = (view(image, label, seed=s, settings=options, crop=(50, 60)) for s in (3, 3, 4))
    assert a[0].tobytes() == b[0].tobytes()
    assert a[1].tobytes() == b[1].tobytes()
    assert a[0].tobytes() != c[0].tobytes()


def test_inputs_stay_as_they_were() -> None:
    image, label = scene(30, 30)
    before = image.copy(), label.copy()
    for seed in range(4):
        view(image, label, seed=seed, settings=AugmentConfig(blur=1.0), crop=(20, 20))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 1)])
def test_odd_sizes_give_the_asked_size(size: tuple[int, int]) -> None:
    image, label = scene(*size)
    for seed in range(20):
        out_image, out_label = view(image, label, seed=seed, settings=AugmentConfig(blur=0.5), crop=(32, 48))
        assert (out_image.shape, out_label.shape) == ((32, 48, 3), (32, 48))


def test_labels_are_never_blended() -> None:
    image, label = scene(64, 64)
    label = np.where(label < 9, 3, 200).astype(np.uint8)
    for seed in range(10):
        assert set(np.unique(view(image, label, seed=seed, settings=AugmentConfig())[1])) <= {3, 200, IGNORE}


def test_flip_mirrors_both() -> None:
    image, label = scene(20, 30)
    out_image, out_label = view(image, label, seed=0, settings=OFF.model_copy(update={"flip": 1.0}))
    np.testing.assert_array_equal(out_image, image[:, ::-1])
    np.testing.assert_array_equal(out_label, label[:, ::-1])


def test_switching_one_effect_off_leaves_the_other_draws() -> None:
    with_all, without = (
        draw_params(o, np.random.default_rng(9)) for o in (AugmentConfig(blur=1.0), AugmentConfig(colour=0.0))
    )
    assert (with_all.scale, with_all.position, with_all.flip) == (without.scale, without.position, without.flip)
    assert (without.brightness, without.hue, without.blur_sigma) == (1, 0, 0)


def jittered(**factors: float) -> np.ndarray:
    drawn = draw_params(OFF, np.random.default_rng(0))
    drawn = type(drawn)(**{**drawn.__dict__, **factors})
    return np.array(colour_matrix(drawn, mean=100.0)).reshape(3, 4)


def test_colour_matrix_against_its_parts() -> None:
    colour = np.array([200.0, 50.0, 90.0])
    apply = lambda m: m[:, :3] @ colour + m[:, 3]  # noqa: E731
    grey = colour @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(apply(jittered()), colour, atol=1e-9)
    np.testing.assert_allclose(apply(jittered(brightness=1.2)), colour * 1.2)
    np.testing.assert_allclose(apply(jittered(contrast=0.5)), 50 + colour / 2)
    np.testing.assert_allclose(apply(jittered(saturation=0.0)), grey)
    turned = apply(jittered(hue=0.5))
    np.testing.assert_allclose(turned @ [0.299, 0.587, 0.114], grey)  # a turn of hue keeps the luma
    np.testing.assert_allclose(apply(jittered(hue=1.0)), colour, atol=1e-9)
    hue = colorsys.rgb_to_hsv(*(colour / 255))[0]
    opposite = colorsys.rgb_to_hsv(*np.clip(turned / 255, 0, 1))[0]
    assert abs((opposite - hue) % 1 - 0.5) < 0.1  # half a turn in YIQ is about half a turn in HSV


def test_grey_stays_grey_under_hue_and_saturation() -> None:
    image = np.full((16, 16, 3), 90, np.uint8)
    out, _ = view(image, np.zeros((16, 16), np.uint8), seed=2, settings=OFF.model_copy(update={"colour": 0.5}))
    assert np.ptp(out.astype(int), axis=-1).max() <= 1
