"""The canvas: positions of polygons, occlusion, and the majority vote of a pixel."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streetscenes import Label
from streetscenes.camera import Camera
from streetscenes.canvas import Canvas, vote
from streetscenes.light import Light
from streetscenes.shapes import between, cutout

CAMERA = Camera(height=1.5, focal=1.0, horizon=0.5, pan=0.0, bend=0.0, size=(40, 80))
GREY = np.full(3, 0.5)
LIGHT = Light(
    sun=np.ones(3),
    ambient=np.ones(3),
    towards=np.array([0.0, 0.6, -0.8]),
    zenith=np.ones(3),
    horizon=np.ones(3),
    haze=0.01,
    clouds=0.0,
    shadow=0.5,
    lamps=0.0,
    wet=0.0,
    exposure=1.0,
    noise=0.0,
)


def screen_box(left: float, right: float, low: float, high: float, depth: float) -> np.ndarray:
    """The polygon at a depth that covers a box of the image, in fractions of its width and height."""
    return CAMERA.unproject(np.array([(left, low), (right, low), (right, high), (left, high)]), depth)[None]


def test_a_rectangle_fills_exactly_its_pixels() -> None:
    canvas = Canvas(CAMERA, LIGHT)
    canvas.fill(screen_box(0.25, 0.5, 0.2, 0.7, 10.0), GREY, Label.CAR)
    expected = np.full((40, 80), Label.SKY, np.uint8)
    expected[8:28, 20:40] = Label.CAR
    assert np.array_equal(canvas.finish().labels(), expected)


def test_the_last_polygon_lies_on_top() -> None:
    canvas = Canvas(CAMERA, LIGHT)
    canvas.fill(screen_box(0, 1, 0, 1, 20.0), GREY, Label.BUILDING)
    canvas.fill(screen_box(0.25, 0.5, 0.25, 0.5, 10.0), GREY, Label.SIGN)
    labels = canvas.finish().labels()
    assert (labels[10:20, 20:40] == Label.SIGN).all()
    assert (labels == Label.SIGN).sum() == 200
    assert (labels == Label.BUILDING).sum() == 3000


def test_twice_as_far_is_half_as_large() -> None:
    outline = np.array([(-2.0, -1.0), (2.0, -1.0), (2.0, 1.0), (-2.0, 1.0)])
    areas = []
    for depth in (5.0, 10.0):
        canvas = Canvas(CAMERA, LIGHT)
        canvas.fill(cutout(np.array([0, 1.5, depth]), outline), GREY, Label.CAR)
        areas.append(int((canvas.finish().labels() == Label.CAR).sum()))
    assert areas == [32 * 16, 16 * 8]


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    canvas = Canvas(CAMERA, LIGHT)
    canvas.fill(cutout(np.array([0, 1.5, -5.0]), np.array([(-1.0, -1), (1, -1), (1, 1)])), GREY, Label.CAR)
    assert (canvas.finish().labels() == Label.SKY).all()


def test_distance_fades_colours_to_the_haze() -> None:
    canvas = Canvas(CAMERA, LIGHT)
    for depth in (1.5, 50.0, 5000.0):
        canvas.fill(screen_box(0, 1, 0, 1, depth), np.zeros(3), Label.BUILDING)
    haze = canvas.finish().looks[1:, 0]
    np.testing.assert_allclose(haze, 1 - np.exp([-0.015, -0.5, -50.0]), atol=1e-6)


def test_project_and_unproject_are_inverse() -> None:
    camera = Camera(height=1.7, focal=1.1, horizon=0.45, pan=0.2, bend=0.002, size=(30, 90))
    positions = np.random.default_rng(0).random((50, 2))
    np.testing.assert_allclose(camera.project(camera.unproject(positions, 12.0)) / [90, 30], positions, atol=1e-9)


def test_the_ground_of_a_pixel_projects_into_it() -> None:
    camera = Camera(height=1.7, focal=1.1, horizon=0.45, pan=0.2, bend=0.002, size=(30, 90))
    first, x, z = camera.ground()
    points = np.stack([x, np.zeros_like(x), np.broadcast_to(z, x.shape)], axis=-1)[2:]
    rows, columns = np.mgrid[first + 2 : 30, 0:90] + 0.5
    np.testing.assert_allclose(camera.project(points), np.stack([columns, rows], axis=-1), atol=1e-9)


@given(hnp.arrays(np.uint8, (4, 6), elements=st.integers(0, 3)))
def test_vote_takes_the_most_frequent_and_the_largest_of_equals(samples: np.ndarray) -> None:
    got = vote(*samples)
    for column in range(samples.shape[1]):
        counts = Counter(samples[:, column].tolist())
        assert got[column] == max(counts, key=lambda value: (counts[value], value))


def test_between_leaves_out_the_spans() -> None:
    assert between([(5, 7), (1, 2)], 0, 10) == [(0, 1), (2, 5), (7, 10)]
    assert between([(-1, 3), (8, 12)], 0, 10) == [(3, 8)]
    assert between([], 4, 2) == []
