"""Label PNGs: read by other readers, compared with Pillow's encoder, and damaged."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import imageio.v3 as imageio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PIL import Image

from autolabel.errors import LabelError
from autolabel.labels import png
from autolabel.labels.png import CODECS
from streetscenes import render

MAPS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))
READERS = {
    "ours": png.decode,
    "Pillow": lambda data: np.array(Image.open(io.BytesIO(data))),
    "cv2 unchanged": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED),
    "cv2 grey": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE),
    "imageio": lambda data: imageio.imread(data, extension=".png"),
}
FIXED = {
    "0 and 255": np.array([[0, 255], [255, 0]], np.uint8),
    "lines of 0 and 255": np.eye(40, dtype=np.uint8) * 255,
    "one class": np.full((50, 70), 3, np.uint8),
    "all 255": np.full((3, 5), 255, np.uint8),
    "one pixel": np.array([[7]], np.uint8),
    "one row": np.arange(256, dtype=np.uint8)[None],
    "one column": np.arange(256, dtype=np.uint8)[:, None],
    "wide": np.tile(np.arange(251, dtype=np.uint8), (2, 300)),  # a row longer than deflate's window
    "not contiguous": np.arange(200, dtype=np.uint8).reshape(10, 20).T,
}


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", FIXED)
def test_readers_give_the_ids(name: str, codec: str, reader: str) -> None:
    decoded = READERS[reader](CODECS[codec](FIXED[name]))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, FIXED[name])


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=40)
@given(labels=MAPS)
def test_any_map_in_every_reader(codec: str, labels: np.ndarray) -> None:
    data = CODECS[codec](labels)
    assert data == CODECS[codec](labels.copy(order="F"))
    for read in READERS.values():
        np.testing.assert_array_equal(read(data), labels)


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "share"), [("default", 0.95), ("archive", 0.8)])
def test_smaller_than_pillows_default_on_street_scenes(codec: str, share: float, shared) -> None:
    paths = sorted((shared / "camvid" / "trainannot").glob("*.png"))[::40]
    maps = [np.array(Image.open(path)) for path in paths]
    theirs = sum(len(pillow_png(Image.fromarray(labels))) for labels in maps)
    assert sum(len(CODECS[codec](labels)) for labels in maps) < share * theirs


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "share"), [("default", 0.95), ("archive", 0.8)])
def test_smaller_than_pillows_default_on_rendered_scenes(codec: str, share: float) -> None:
    labels = render(0, 0, size=(512, 1024)).fine
    assert len(CODECS[codec](labels)) < share * len(pillow_png(Image.fromarray(labels)))


def test_a_row_is_filtered_as_it_changes_less() -> None:
    """Filter Up turns equal rows into zeros; a row of one class below a patterned one is stored as it is."""
    labels = np.zeros((4, 64), np.uint8)
    labels[1:3] = np.arange(64)
    assert png._filtered(labels)[:, 0].tolist() == [UP, UP, UP, NONE]


def pillow_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


UP, NONE = 2, 0
GREY = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    "image",
    [GREY.convert("P"), GREY.convert("RGB"), GREY.convert("1"), GREY.convert("LA"), GREY.convert("I;16")],
    ids=lambda image: image.mode,
)
def test_kinds_that_are_no_ids_in_some_reader(image: Image.Image) -> None:
    with pytest.raises(LabelError, match="8-bit greyscale"):
        png.decode(pillow_png(image))


def test_any_filter_is_read() -> None:
    np.testing.assert_array_equal(png.decode(pillow_png(GREY)), np.array(GREY))


def test_every_damaged_bit_is_noticed() -> None:
    labels = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((2, 3), np.uint8))
    data = png.encode(labels)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(LabelError):
                png.decode(bytes(damaged))


def test_cut_short_extended_or_foreign() -> None:
    data = png.encode(FIXED["one row"])
    for length in range(len(data)):
        with pytest.raises(LabelError):
            png.decode(data[:length])
    for other in (data + b"\0", data + b"\0" * 12, b"GIF89a" + b"\0" * 60):
        with pytest.raises(LabelError):
            png.decode(other)


def test_bomb_is_refused_from_its_header() -> None:
    body = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(LabelError, match="60000 x 60000 pixels exceed the limit of 64000000"):
        png.decode(data)
    with pytest.raises(LabelError, match="exceed"):
        png.decode(png.encode(FIXED["one row"]), max_pixels=255)
