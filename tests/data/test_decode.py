"""Decoding: what is accepted, what it becomes, and every refusal."""

from __future__ import annotations

import contextlib
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from autolabel.classes import CLASS_SETS
from autolabel.data.decode import decode_image, decode_label, image_size
from autolabel.data.media import decode_frames
from autolabel.errors import DataError, ImageError, LabelError
from tests.data.image_files import encoded, header_only_png, ids, noise_image, palette_png

LIMIT = 10_000
CAMVID = CLASS_SETS["camvid"]


def image(data: bytes, limit: int = LIMIT) -> np.ndarray:
    return decode_image(data, where="x.png", max_pixels=limit)


def label(data: bytes, *, classes=CAMVID, encoding: str = "ids", limit: int = LIMIT) -> np.ndarray:
    return decode_label(data, where="x.png", classes=classes, encoding=encoding, max_pixels=limit)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_come_back_exactly(kind: str, options: dict) -> None:
    pixels = noise_image(1)
    found = image(encoded(pixels, kind, **options))
    np.testing.assert_array_equal(found, pixels)
    assert found.flags.writeable


def test_jpeg_is_what_pillow_decodes() -> None:
    smooth = np.linspace(0, 255, 8 * 12 * 3).reshape(8, 12, 3).astype(np.uint8)
    found = image(encoded(smooth, "JPEG", quality=95))
    assert np.abs(found.astype(int) - smooth).max() < 30


def test_grey_alpha_and_palette_become_rgb() -> None:
    grey = ids(*range(96))
    np.testing.assert_array_equal(image(encoded(grey)), np.repeat(grey[..., None], 3, axis=2))
    rgba = np.dstack([noise_image(2), ids(0, 128, 255)])  # transparent pixels keep their colour
    np.testing.assert_array_equal(image(encoded(rgba)), rgba[..., :3])
    flat = Image.fromarray(noise_image(3)).quantize(8)
    np.testing.assert_array_equal(image(encoded_image(flat)), np.array(flat.convert("RGB")))
    flat.info["transparency"] = bytes([0, 255, 128])
    np.testing.assert_array_equal(image(encoded_image(flat)), np.array(flat.convert("RGBA"))[..., :3])


def test_cmyk_jpeg_is_converted() -> None:
    cmyk = Image.fromarray(noise_image(4)).convert("CMYK")
    assert image(encoded_image(cmyk, "JPEG")).shape == (8, 12, 3)


def encoded_image(source: Image.Image, kind: str = "PNG") -> bytes:
    sink = BytesIO()
    source.save(sink, kind)
    return sink.getvalue()


@pytest.mark.parametrize(
    "pixels", [np.zeros((8, 12), np.uint16), np.zeros((8, 12), np.int32), np.zeros((8, 12), np.float32)]
)
def test_pixels_without_an_agreed_range_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match="no agreed range; convert it"):
        image(encoded(pixels, "TIFF"))


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("AVIF", {})],
)
def test_images_are_turned_as_a_viewer_shows_them(kind: str, options: dict, number: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    smooth = np.linspace(0, 255, 8 * 12 * 3).reshape(8, 12, 3).astype(np.uint8)
    data = encoded(smooth, kind, exif=exif, **options)
    expected = np.array(ImageOps.exif_transpose(Image.open(BytesIO(data))))
    found = image(data)
    np.testing.assert_array_equal(found, expected)
    assert found.flags.writeable
    assert found.shape == ((12, 8, 3) if number >= 5 else (8, 12, 3))
    np.testing.assert_array_equal(next(decode_frames(data, where="x", max_pixels=LIMIT).frames).pixels, expected)


def test_broken_metadata_leave_the_image_as_it_is_stored() -> None:
    data = encoded(noise_image(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    np.testing.assert_array_equal(image(data), noise_image())
    exif = Image.Exif()
    exif[0x0112] = 9
    np.testing.assert_array_equal(image(encoded(noise_image(), exif=exif)), noise_image())


def test_a_bigtiff_is_read() -> None:
    np.testing.assert_array_equal(image(encoded(noise_image(), "TIFF", big_tiff=True)), noise_image())


def test_bands_that_are_not_read_are_named() -> None:
    """Four bands, one after the other, as remote sensing stores them."""
    with pytest.raises(ImageError, match=r"x\.png: is a TIFF whose 4 bands .* convert it to 8-bit RGB"):
        image(planar_tiff(noise_image(), {338: 0}))
    np.testing.assert_array_equal(image(planar_tiff(noise_image(), {})), noise_image())  # the fourth counts as alpha


def planar_tiff(pixels: np.ndarray, more: dict[int, int]) -> bytes:
    height, width, _ = pixels.shape
    bands = [pixels[..., 0], pixels[..., 1], pixels[..., 2], pixels[..., 0]]
    offsets = [8 + k * height * width for k in range(4)]
    start = offsets[-1] + height * width
    lists = {258: ("H", [8] * 4), 273: ("I", offsets), 279: ("I", [height * width] * 4)}
    single = {256: width, 257: height, 259: 1, 262: 2, 277: 4, 278: height, 284: 2, **more}
    count = len(lists) + len(single)
    place, tail, entries = start + 2 + 12 * count + 4, b"", []
    for tag in sorted([*lists, *single]):
        if tag in single:
            entries.append(struct.pack("<HHII", tag, 4, 1, single[tag]))
            continue
        kind, values = lists[tag]
        entries.append(struct.pack("<HHII", tag, 3 if kind == "H" else 4, 4, place + len(tail)))
        tail += struct.pack(f"<4{kind}", *values)
    directory = struct.pack("<H", count) + b"".join(entries) + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, start) + b"".join(band.tobytes() for band in bands) + directory + tail


def png_16_bit(values: np.ndarray) -> bytes:
    """An RGB PNG of 16 bits, which Pillow does not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def test_16_bit_rgb_keeps_its_high_bytes_and_12_bits_in_16_are_refused() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 12, 3))
    np.testing.assert_array_equal(image(png_16_bit(values)), values >> 8)
    with pytest.raises(ImageError, match="uses less than 13 of them"):
        image(png_16_bit(values >> 4))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF"])
def test_size_is_read_from_the_header(kind: str) -> None:
    data = encoded(noise_image(), kind)
    assert image_size(data, where="x", max_pixels=LIMIT) == (12, 8)
    assert image_size(data, where="x", max_pixels=96) == (12, 8)
    for refuse in (lambda: image_size(data, where="x", max_pixels=95), lambda: image(data, 95)):
        with pytest.raises(ImageError, match="12 x 8 pixels are more than the limit of 95"):
            refuse()


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 9_000), (65_535, 65_535)])
def test_bombs_are_refused_from_their_header_without_a_warning(size: tuple[int, int]) -> None:
    bomb = header_only_png(*size)  # Pillow itself would warn from 89 million pixels and raise from twice that
    with pytest.raises(ImageError, match="more than the limit"):
        image(bomb, 64_000_000)
    with pytest.raises(LabelError, match="more than the limit"):
        label(bomb, limit=64_000_000)
    assert image_size(bomb, where="x", max_pixels=2**32) == size  # our limit is the only one


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (0, 0)])
def test_images_without_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError):
        image(header_only_png(*size, colour=2))
    with pytest.raises(LabelError):
        label(header_only_png(*size))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    data = encoded(noise_image(), kind)
    with pytest.raises(ImageError):
        image(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 50, b"%PDF-1.4", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"x\.png: "):
        image(data)
    with pytest.raises(LabelError, match=r"x\.png: "):
        label(data)


def test_gif_is_refused_though_pillow_reads_it() -> None:
    with pytest.raises(ImageError, match="no PNG, JPEG, WebP, BMP, TIFF or AVIF"):
        image(encoded(noise_image(), "GIF"))


def test_every_flipped_byte_of_a_png_is_noticed() -> None:
    data = encoded(noise_image(5))
    for place in range(len(data)):
        broken = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        with pytest.raises(ImageError):
            image(broken)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.data())
def test_broken_bytes_decode_or_raise_our_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF"]))
    raw = bytearray(encoded(noise_image(), kind))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=4)):
        raw[place] = value
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    for decode in (image, label):
        with contextlib.suppress(DataError):
            assert decode(bytes(raw)).dtype == np.uint8


def test_pillow_is_strict_about_truncation() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_label_ids_become_train_ids() -> None:
    source = ids(7, 8, 33, 0, 1, 24)
    found = label(encoded(source), classes=CLASS_SETS["cityscapes"])
    expected = [[{7: 0, 8: 1, 33: 18, 24: 11}.get(int(value), 255) for value in row] for row in source]
    np.testing.assert_array_equal(found, expected)
    assert found.flags.writeable


def test_train_ids_stay() -> None:
    source = ids(0, 10, 255)
    np.testing.assert_array_equal(label(encoded(source), encoding="train_ids"), source)
    with pytest.raises(LabelError, match="id 11 "):
        label(encoded(ids(11)), encoding="train_ids")


@pytest.mark.parametrize(
    ("classes", "wrong"), [("camvid", 12), ("camvid", 255), ("cityscapes", 34), ("cityscapes", 255)]
)
def test_unknown_ids_are_refused_with_their_place(classes: str, wrong: int) -> None:
    source = ids(0)
    source[3, 5] = wrong
    with pytest.raises(LabelError, match=rf"id {wrong} \(first at row 3, column 5\) is not in '{classes}'; correct"):
        label(encoded(source), classes=CLASS_SETS[classes])


def test_labels_of_other_kinds_are_refused() -> None:
    flat = ids(0, 1)
    wrong = {
        "8-bit RGB PNG": encoded(np.dstack([flat] * 3)),
        "8-bit RGBA PNG": encoded(np.dstack([flat] * 4)),
        "8-bit greyscale with alpha PNG": encoded(np.dstack([flat] * 2)),
        "16-bit greyscale PNG": encoded(flat.astype(np.uint16)),
        "1-bit greyscale PNG": encoded(flat.astype(bool)),
        "4-bit greyscale PNG": header_only_png(12, 8, depth=4),
        "8-bit palette PNG, .*turns indices into ids": palette_png(flat),
        "is no PNG": encoded(flat, "JPEG"),
    }
    for message, data in wrong.items():
        with pytest.raises(LabelError, match=message):
            label(data)


def test_palette_indices_only_where_the_source_says_so() -> None:
    source = ids(*range(12))
    found = label(palette_png(source), encoding="palette_ids")
    np.testing.assert_array_equal(found, np.where(source == 11, 255, source))
    np.testing.assert_array_equal(label(encoded(source), encoding="palette_ids"), found)  # plain grey is fine too
    few = Image.fromarray(source % 3).quantize(3)  # Pillow stores up to 16 colours in fewer bits
    np.testing.assert_array_equal(label(encoded_image(few), encoding="palette_ids"), np.array(few))
