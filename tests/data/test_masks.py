"""Masks of every kind, written by Pillow, against the arrays they were made of; and what is refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from autolabel.classes import IGNORE
from autolabel.config.sources import FolderConfig
from autolabel.data.build import ScanResult, build
from autolabel.data.loaders import load_label
from autolabel.data.masks import histogram, look_up, num_smoothed, read_mask
from autolabel.errors import DataError, LabelError
from tests.data.image_files import encoded, ids, noise_image, palette_png, put, put_image

FEW = ids(0, 1, 2, 3)
MANY = ids(0, 7, 200, 255)
COLOURS = {0: (0, 0, 0), 1: (128, 64, 128), 2: (255, 0, 0), 3: (0, 0, 142)}


def painted(mask: np.ndarray, colours: dict[int, tuple[int, int, int]] = COLOURS) -> np.ndarray:
    return np.array([[colours[int(value)] for value in row] for row in mask], np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    sink = BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def small_png(mask: np.ndarray, bits: int, colour_type: int = 0) -> bytes:
    """A grey or palette PNG of less than 8 bits, which Pillow writes for palettes only."""
    height, width = mask.shape
    packed = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes() for row in mask]
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in packed))), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def values_of(data: bytes, values: str = "ids") -> np.ndarray:
    return read_mask(data, where="m.png", max_pixels=10_000, values=values).values


READ = {
    "8-bit grey PNG": (encoded(MANY), MANY),
    "16-bit grey PNG": (encoded(MANY.astype(np.uint16) * 200), MANY.astype(int) * 200),
    "1-bit PNG": (encoded(FEW > 1), FEW > 1),
    "1-bit grey PNG by hand": (small_png(FEW % 2, 1), FEW % 2),
    "2-bit grey PNG": (small_png(FEW, 2), FEW),
    "4-bit grey PNG": (small_png(ids(*range(16)), 4), ids(*range(16))),
    "grey stored as RGB": (encoded(np.dstack([MANY] * 3)), MANY),
    "grey stored as opaque RGBA": (encoded(np.dstack([MANY] * 3 + [np.full_like(MANY, 255)])), MANY),
    "grey with opaque alpha": (encoded(np.dstack([MANY, np.full_like(MANY, 255)])), MANY),
    "TIFF": (encoded(MANY, "TIFF"), MANY),
    "TIFF, LZW": (encoded(MANY, "TIFF", compression="tiff_lzw"), MANY),
    "TIFF, 16 bits": (encoded(MANY.astype(np.uint16) * 200, "TIFF"), MANY.astype(int) * 200),
    "TIFF, 32 bits": (encoded(MANY.astype(np.int32), "TIFF"), MANY),
    "TIFF, float": (encoded(MANY.astype(np.float32), "TIFF"), MANY),
    "TIFF, 1 bit": (encoded(FEW > 1, "TIFF"), FEW > 1),
    "BigTIFF": (encoded(MANY, "TIFF", big_tiff=True), MANY),
    "BMP": (encoded(MANY, "BMP"), MANY),
    "lossless WebP": (encoded(np.dstack([MANY] * 3), "WEBP", lossless=True), MANY),
    "lossless WebP with metadata": (
        encoded(np.dstack([MANY] * 3), "WEBP", lossless=True, exif=b"Exif\0\0" + bytes(90)),
        MANY,
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_ids_come_back_exactly(kind: str) -> None:
    data, expected = READ[kind]
    np.testing.assert_array_equal(values_of(data), expected)


@pytest.mark.parametrize("colours", [2, 4, 16, 200])
def test_palette_indices_come_back_exactly(colours: int) -> None:
    """Pillow writes 1, 2, 4 and 8 bits for so many colours."""
    mask = ids(*range(colours), height=20, width=20)
    image = Image.fromarray(mask, "L")
    image.putpalette([(7 * k + 3) % 256 for k in range(3 * colours)])
    for data in (saved(image), saved(image, "TIFF"), saved(image, transparency=0)):
        np.testing.assert_array_equal(values_of(data, "indices"), mask)
    np.testing.assert_array_equal(values_of(encoded(mask), "indices"), mask)  # grey among them
    with pytest.raises(LabelError, match=r"m\.png: is a palette mask; set data\.mask_values"):
        values_of(saved(image))


def as_palette(mask: np.ndarray) -> bytes:
    """A palette mask whose indices are in another order than the classes, as programs write them."""
    image = Image.fromarray(3 - mask, "L")
    image.putpalette([channel for k in (3, 2, 1, 0) for channel in COLOURS[k]])
    return saved(image)


COLOURED = {
    "RGB PNG": encoded(painted(FEW)),
    "RGBA PNG": encoded(np.dstack([painted(FEW), np.full_like(FEW, 255)])),
    "RGBA PNG, black is transparent": encoded(np.dstack([painted(FEW), np.where(FEW == 0, 0, 255).astype(np.uint8)])),
    "palette PNG": as_palette(FEW),
    "RGB TIFF": encoded(painted(FEW), "TIFF"),
    "RGB BMP": encoded(painted(FEW), "BMP"),
    "lossless WebP": encoded(painted(FEW), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", COLOURED)
def test_colours_come_back_exactly(kind: str) -> None:
    expected = [[int.from_bytes(bytes(pixel)) for pixel in row] for row in painted(FEW)]
    np.testing.assert_array_equal(values_of(COLOURED[kind], "colours"), expected)


HALF = np.dstack([painted(FEW), np.where(FEW == 0, 100, 255).astype(np.uint8)])
HIDDEN = np.dstack([painted(FEW), np.where(FEW == 2, 0, 255).astype(np.uint8)])
REFUSED = {
    "JPEG": ("ids", encoded(MANY, "JPEG"), "JPEG of a lossy kind: its compression changes the ids"),
    "lossy WebP": ("ids", encoded(np.dstack([MANY] * 3), "WEBP"), "WEBP of a lossy kind"),
    "lossy WebP with alpha": ("ids", encoded(HALF, "WEBP"), "WEBP of a lossy kind"),
    "AVIF": ("colours", encoded(painted(FEW), "AVIF", quality=100), "AVIF of a lossy kind"),
    "JPEG in a TIFF": ("ids", encoded(MANY, "TIFF", compression="jpeg"), "TIFF with jpeg compression"),
    "colours for ids": ("ids", encoded(painted(FEW)), 'colour mask; set data.mask_values = "colours"'),
    "transparent grey": ("ids", encoded(np.dstack([MANY, MANY])), "partly transparent"),
    "half transparent": ("colours", encoded(HALF), "blended: some pixels are half transparent"),
    "hidden colours": ("colours", encoded(HIDDEN), "transparent pixels that hide a colour"),
    "CMYK": (
        "ids",
        encoded_cmyk := saved(Image.fromarray(painted(FEW)).convert("CMYK"), "TIFF"),
        "colour mask|mode 'CMYK'",
    ),
    "CMYK colours": ("colours", encoded_cmyk, "mode 'CMYK'"),
    "16-bit colours": ("colours", encoded(MANY.astype(np.uint16)), "which hold no 8-bit colours"),
    "negative": ("ids", encoded(MANY.astype(np.int32) - 1, "TIFF"), "holds -1 at row 0, column 0"),
    "fractions": ("ids", encoded(MANY.astype(np.float32) + 0.5, "TIFF"), "holds 0.5 at row 0, column 0"),
    "not a number": ("ids", encoded(np.full((8, 12), np.nan, np.float32), "TIFF"), "holds nan"),
    "too large": ("ids", encoded(MANY.astype(np.int32) * 1000, "TIFF"), "holds 200000 at row 0, column 2"),
    "no image": ("ids", b"GIF89a" + bytes(50), "is no PNG"),
    "empty": ("ids", b"", "is an empty file"),
    "cut short": ("ids", encoded(MANY)[:-14], "cannot be decoded"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_masks_that_may_be_misread_are_refused(kind: str) -> None:
    values, data, message = REFUSED[kind]
    with pytest.raises(LabelError, match=message) as caught:
        values_of(data, values)
    assert str(caught.value).startswith("m.png: ")
    assert ";" in str(caught.value)  # a remedy


def test_several_pages_are_refused() -> None:
    pages = [Image.fromarray(FEW), Image.fromarray(FEW)]
    with pytest.raises(LabelError, match="holds 2 pages or frames"):
        values_of(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))


def test_a_tiff_whose_zero_is_white_is_refused() -> None:
    data = saved(Image.fromarray(FEW > 1), "TIFF", tiffinfo={262: 0})
    with pytest.raises(LabelError, match="zero means white"):
        values_of(data)


@given(arrays(np.uint8, (5, 7)), st.booleans())
def test_look_up_against_a_loop(values: np.ndarray, wide: bool) -> None:
    wanted = values.astype(np.uint32) << 16 | 5 if wide else values
    table = {int(value): int(value) * 7 % 256 for value in np.unique(wanted)}
    found = histogram(wanted)
    assert dict(zip(found.values.tolist(), found.pixels.tolist(), strict=True)) == {
        value: int((wanted == value).sum()) for value in table
    }
    np.testing.assert_array_equal(look_up(wanted, found.values, table), np.vectorize(table.get)(wanted))


def test_smoothed_masks_are_told_from_masks_of_many_classes() -> None:
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 12, (8, 8)) * 20, np.ones((12, 12), int)).astype(np.uint8)
    assert num_smoothed(mask, histogram(mask)) == 0
    smooth = np.array(Image.fromarray(mask).resize((120, 120), Image.Resampling.BILINEAR))
    assert num_smoothed(smooth, histogram(smooth)) > 20


# From files to train ids, through a build and the loader.


def made(
    root: Path, classes: str, data: bytes, suffix: str = ".png", **settings: object
) -> tuple[ScanResult, np.ndarray]:
    """Build a folder of one image and its mask; the train ids as training reads them."""
    put(root / "classes.toml", classes.encode())
    put_image(root / "images/dir/a b.png")
    put(root / f"masks/dir/a b{suffix}", data)
    artefact = root / "artefact"
    config = FolderConfig(source="folder", root=root, **settings)
    written = build(config, write_many=lambda files: [put(artefact / name, x) for name, x in files], jobs=1, quiet=True)
    label = written.manifest.label("dir/a b", "fine")
    roots = {"source": root, "data": artefact}
    return written, load_label(label, roots, written.manifest.classes)


NAMES = 'names = ["road", "car", "rider", "person"]\n'
TABLE = [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("classes", "data", "settings", "table", "encoding"),
    [
        (NAMES, encoded(FEW), {}, TABLE, "ids"),
        (NAMES, palette_png(FEW), {"mask_values": "indices"}, TABLE, "palette_ids"),
        (NAMES, encoded(FEW.astype(np.uint16)), {}, TABLE, "train_ids"),
        (NAMES, encoded(np.dstack([FEW] * 3)), {}, TABLE, "train_ids"),
        (NAMES + 'merge = { rider = "person" }', encoded(FEW), {}, [0, 1, 2, 2], "train_ids"),
        (NAMES + 'drop = ["road"]', encoded(FEW), {}, [IGNORE, 0, 1, 2], "ids"),
        (NAMES + 'merge = { rider = "living", person = "living" }', encoded(FEW), {}, [0, 1, 2, 2], "train_ids"),
        ('names = ["a", "b"]\nids = [[0, 3], [1, 2]]', encoded(FEW), {}, [0, 1, 1, 0], "train_ids"),
        ('names = ["a", "b"]\nids = [1, 3]\nignored_ids = [0, 2]', encoded(FEW), {}, [IGNORE, 0, IGNORE, 1], "ids"),
        ('names = ["bg", "car"]\nids = [0, 255]', encoded((FEW > 1).astype(np.uint8) * 255), {}, [0, 0, 1, 1], "ids"),
        (
            NAMES + "palette = [[0, 0, 0], [128, 64, 128], [255, 0, 0], [0, 0, 142]]",
            encoded(painted(FEW)),
            {"mask_values": "colours"},
            TABLE,
            "train_ids",
        ),
        (
            'names = ["a", "b"]\npalette = [[128, 64, 128], [255, 0, 0]]\nignored_colours = [[0, 0, 0], [0, 0, 142]]',
            encoded(painted(FEW)),
            {"mask_values": "colours"},
            [IGNORE, 0, 1, IGNORE],
            "train_ids",
        ),
        (
            'names = ["road", "rider", "car"]\npalette = "cityscapes"\nmerge = { rider = "road" }',
            encoded(painted(FEW)),
            {"mask_values": "colours"},
            [IGNORE, 0, 0, 1],
            "train_ids",
        ),
        (
            'names = ["background", "aeroplane", "bird"]\nids = [0, 1, 3]\npalette = "voc"',
            encoded(painted(FEW, {0: (0, 0, 0), 1: (128, 0, 0), 2: (224, 224, 192), 3: (128, 128, 0)})),
            {"mask_values": "colours"},
            [0, 1, IGNORE, 2],
            "train_ids",
        ),
    ],
)
def test_train_ids_against_a_loop(
    tmp_path: Path, classes: str, data: bytes, settings: dict, table: list[int], encoding: str
) -> None:
    written, found = made(tmp_path, classes, data, **settings)
    expected = np.array([[table[value] for value in row] for row in FEW])
    np.testing.assert_array_equal(found, expected)
    label = written.manifest.label("dir/a b", "fine")
    assert label.encoding == encoding
    assert label.root == ("data" if encoding == "train_ids" else "source")
    count = written.manifest.classes.num_classes
    assert label.counts == (*((expected == k).sum() for k in range(count)), (expected == IGNORE).sum())


def test_unknown_colours_are_named(tmp_path: Path) -> None:
    classes = 'names = ["a"]\npalette = [[0, 0, 0]]'
    wanted = r"no class has: colour \(128, 64, 128\), colour \(255, 0, 0\); .* ignored_colours"
    with pytest.raises(DataError, match=wanted):
        made(tmp_path, classes, encoded(painted(ids(0, 1, 2))), mask_values="colours")


# EXIF orientation. The reference is Pillow's own ImageOps.exif_transpose.


def turned(mask: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as stored, for a file with this orientation that is shown as `mask`."""
    back = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[orientation]
    image = Image.fromarray(mask)
    for method in back:
        image = image.transpose(Image.Transpose(method))
    return np.array(image)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def oriented(
    root: Path, image_orientation: int, mask: bytes, *, square: bool = False, **settings: object
) -> np.ndarray:
    shown = noise_image(height=12 if square else 8)
    put(root / "classes.toml", NAMES.encode())
    put(root / "images/a.png", encoded(turned(shown, image_orientation), exif=exif(image_orientation)))
    put(root / "masks/a.png", mask)
    config = FolderConfig(source="folder", root=root, **settings)
    artefact = root / "artefact"
    written = build(config, write_many=lambda files: [put(artefact / name, x) for name, x in files], jobs=1, quiet=True)
    [row] = written.manifest.images
    assert (row.height, row.width) == shown.shape[:2]
    return load_label(written.manifest.label("a", "fine"), {"source": root, "data": artefact}, written.manifest.classes)


SHOWN = np.random.default_rng(1).integers(0, 4, (8, 12), dtype=np.uint8)
SQUARE = np.random.default_rng(1).integers(0, 4, (12, 12), dtype=np.uint8)


@pytest.mark.parametrize("number", range(1, 9))
def test_masks_on_the_stored_or_on_the_shown_pixels(tmp_path: Path, number: int) -> None:
    stored = encoded(turned(SHOWN, number))
    np.testing.assert_array_equal(oriented(tmp_path, number, stored, mask_orientation="stored"), SHOWN)
    np.testing.assert_array_equal(oriented(tmp_path, number, encoded(SHOWN), mask_orientation="shown"), SHOWN)
    same = encoded(turned(SHOWN, number), exif=exif(number))
    np.testing.assert_array_equal(oriented(tmp_path, number, same), SHOWN)  # both are turned alike


@pytest.mark.parametrize("number", [5, 6, 7, 8])
def test_sizes_decide_where_they_can(tmp_path: Path, number: int) -> None:
    np.testing.assert_array_equal(oriented(tmp_path, number, encoded(turned(SHOWN, number))), SHOWN)
    np.testing.assert_array_equal(oriented(tmp_path, number, encoded(SHOWN)), SHOWN)


@pytest.mark.parametrize(("number", "square"), [(2, False), (3, False), (4, False), (6, True), (8, True)])
def test_where_sizes_cannot_tell_the_build_asks(tmp_path: Path, number: int, square: bool) -> None:
    mask = SQUARE if square else SHOWN
    with pytest.raises(DataError, match=r"has EXIF orientation 1, its image .* data\.mask_orientation = .shown. or"):
        oriented(tmp_path, number, encoded(mask), square=square)
    found = oriented(tmp_path, number, encoded(turned(mask, number)), square=square, mask_orientation="stored")
    np.testing.assert_array_equal(found, mask)


def test_a_mask_that_alone_has_an_orientation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has EXIF orientation 3, its image images/a\.png has 1"):
        oriented(tmp_path, 1, encoded(turned(SHOWN, 3), exif=exif(3)))
    shown = oriented(tmp_path, 1, encoded(turned(SHOWN, 3), exif=exif(3)), mask_orientation="shown")
    np.testing.assert_array_equal(shown, SHOWN)
    stored = oriented(tmp_path, 1, encoded(SHOWN, exif=exif(3)), mask_orientation="stored")
    np.testing.assert_array_equal(stored, SHOWN)
