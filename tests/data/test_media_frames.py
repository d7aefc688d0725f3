"""Animations and pages, against the arrays they were made of."""

from __future__ import annotations

import io
from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from autolabel.data.decode import decode_image
from autolabel.data.media import decode_frames
from autolabel.errors import ImageError

FEW_COLOURS = np.random.default_rng(0).integers(0, 2, (4, 9, 13, 3), dtype=np.uint8) * 255  # a GIF can hold them


def animated(frames: np.ndarray | list[np.ndarray], kind: str, **options: object) -> bytes:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    sink = io.BytesIO()
    first.save(sink, kind, save_all=True, append_images=rest, **options)
    return sink.getvalue()


def page_strips(data: bytes) -> list[int]:
    """Where the first strip of each page of a TIFF starts."""
    with Image.open(io.BytesIO(data)) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(image.tag_v2[273][0])
    return found


NOISE = np.random.default_rng(1).integers(0, 256, (4, 40, 50, 3), dtype=np.uint8)
FILES = {
    "png": animated(FEW_COLOURS, "PNG", duration=100),
    "webp": animated(FEW_COLOURS, "WEBP", lossless=True),
    "gif": animated(FEW_COLOURS, "GIF"),
    "tiff": animated(FEW_COLOURS, "TIFF"),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_frame(kind: str) -> None:
    several, frames = decode_frames(FILES[kind], where="x", max_pixels=9 * 13)
    assert several
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in frames]), FEW_COLOURS)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "P"), ("JPEG", "RGB"), ("GIF", "P"), ("TIFF", "L")])
def test_a_still_image_is_one_frame(kind: str, mode: str) -> None:
    sink = io.BytesIO()
    Image.fromarray(FEW_COLOURS[0]).convert(mode).save(sink, kind)
    several, frames = decode_frames(sink.getvalue(), where="x", max_pixels=117)
    (only,) = frames
    assert not several
    if kind != "GIF":
        np.testing.assert_array_equal(only.pixels, decode_image(sink.getvalue(), where="x", max_pixels=117))


def test_pages_have_sizes_of_their_own_and_each_is_judged() -> None:
    pages = [FEW_COLOURS[0], FEW_COLOURS[1, :4, :5], np.zeros((20, 30, 3), np.uint8)]
    data = animated(pages, "TIFF")
    found = decode_frames(data, where="x", max_pixels=600).frames
    assert [page.pixels.shape for page in found] == [page.shape for page in pages]
    frames = decode_frames(data, where="x.tif", max_pixels=117).frames
    assert next(frames).pixels.shape == (9, 13, 3)
    assert next(frames).pixels.shape == (4, 5, 3)
    with pytest.raises(ImageError, match=r"x\.tif, frame 2: cannot be decoded: 30 x 20 pixels are more than the limit"):
        next(frames)


def test_pages_after_a_damaged_one_are_yielded_under_their_numbers() -> None:
    data = bytearray(animated(list(NOISE), "TIFF", compression="tiff_lzw"))
    good = [frame.pixels for frame in decode_frames(bytes(data), where="x", max_pixels=10_000).frames]
    strips = page_strips(bytes(data))
    data[strips[1] : strips[1] + 40] = bytes(40)
    frames = decode_frames(bytes(data), where="x", max_pixels=10_000).frames
    found = dict(islice(frames, 3))
    with pytest.raises(ImageError, match=r"x, frame 1: cannot be decoded"):
        next(frames)
    assert found.keys() == {0, 2, 3}
    assert all(np.array_equal(found[number], good[number]) for number in found)


def test_overviews_of_a_tiff_are_no_pages() -> None:
    large, small = Image.fromarray(FEW_COLOURS[0]), Image.fromarray(FEW_COLOURS[1, :4, :5])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    sink = io.BytesIO()
    large.save(sink, "TIFF", save_all=True, append_images=[small])
    several, frames = decode_frames(sink.getvalue(), where="x", max_pixels=117)
    assert not several
    np.testing.assert_array_equal(next(frames).pixels, FEW_COLOURS[0])


def test_a_limit_holds_before_anything_is_decoded() -> None:
    for data in FILES.values():
        with pytest.raises(ImageError, match="more than the limit of 116"):
            decode_frames(data, where="x", max_pixels=116)


@pytest.mark.slow
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damage_is_one_error(kind: str, draw: st.DataObject) -> None:
    data = bytearray(FILES[kind])
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(len(data) // 2, len(data)))
    try:
        for image in decode_frames(bytes(data[:cut]), where="x", max_pixels=10_000).frames:
            assert image.pixels.shape[0] * image.pixels.shape[1] <= 10_000
    except ImageError:
        pass
