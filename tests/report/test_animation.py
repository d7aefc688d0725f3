"""Animations, read back by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import pytest
from PIL import Image

from autolabel.report.animation import Animation

SMOOTH = [np.full((30, 41, 3), (40 * i, 200, 90), np.uint8) for i in range(4)]


def encoded(frames: Iterable[np.ndarray], *, width: int = 100, fps: float = 8) -> bytes:
    animation = Animation(width=width, fps=fps)
    for frame in frames:
        animation.add(frame)
    return b"".join(animation.chunks())


def frames_of(data: bytes) -> tuple[list[np.ndarray], list[int]]:
    frames, milliseconds = [], []
    with Image.open(io.BytesIO(data)) as image:
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
            milliseconds.append(image.info["duration"])
        assert image.info["loop"] == 0
    return frames, milliseconds


def test_frames_follow_each_other_at_the_pace_asked_for() -> None:
    found, milliseconds = frames_of(encoded(SMOOTH))
    assert milliseconds == [125] * 4
    for frame, original in zip(found, SMOOTH, strict=True):
        np.testing.assert_allclose(frame.astype(int), original, atol=6)


@pytest.mark.parametrize(("width", "size"), [(100, (41, 30)), (20, (20, 15)), (1, (1, 1))])
def test_wide_frames_shrink_and_narrow_ones_stay(width: int, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(encoded(SMOOTH, width=width))) as image:
        assert (image.size, image.n_frames) == (size, 4)


def test_frames_of_other_shapes_are_fitted_into_the_first() -> None:
    tall = np.full((60, 10, 3), 250, np.uint8)
    frame = frames_of(encoded([SMOOTH[0], tall]))[0][1]
    assert frame.shape == (30, 41, 3)
    assert frame[:, 19:22].min() > 200
    assert frame[:, :16].max() < 50


def test_a_single_frame_and_the_same_bytes_twice() -> None:
    assert len(frames_of(encoded(SMOOTH[:1]))[0]) == 1
    assert encoded(SMOOTH) == encoded(SMOOTH)
