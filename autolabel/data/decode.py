"""Decode image and label files within bounds: a foreign file may be broken, hostile, or not what its name says.

The header's size is checked before any pixel is decoded. Every error names `where`. Images are turned as their EXIF
orientation says, so that every format and command gives the pixels that a viewer shows. Only the first of several
frames is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from autolabel.classes import IGNORE, ClassSet
from autolabel.data.schema import encoded_values
from autolabel.errors import DataError, ImageError, LabelError
from autolabel.labels.png import SIGNATURE, intact_length

# The plugins are used instead of Image.open: each reads one format only, and none has a size limit. Image.open warns or
# raises at a limit of its own, which only a process-wide variable changes.
Readers = tuple[tuple[Callable[[bytes], bool], type[ImageFile.ImageFile]], ...]
READERS: Readers = (
    (lambda data: data.startswith(SIGNATURE), PngImagePlugin.PngImageFile),
    (lambda data: data.startswith(b"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", WebPImagePlugin.WebPImageFile),
    (lambda data: data.startswith(b"BM"), BmpImagePlugin.BmpImageFile),
    (lambda data: data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),  # + is BigTIFF
    (
        lambda data: data[4:12] in (b"ftypavif", b"ftypavis") and bool(features.check("avif")),
        AvifImagePlugin.AvifImageFile,
    ),
)
# Modes with an undisputed conversion to 8-bit RGB; alpha is dropped, not blended.
_TO_RGB = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_COLOUR_TYPES = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with alpha", 6: "RGBA"}
_GREY, _PALETTE = 0, 3
_MIN_HIGH_BYTE = 16  # the largest high byte of a 16-bit image is below it where only 12 bits hold values
# EXIF 2.32, tag Orientation: how the stored pixels are turned to be shown; 1 = not at all.
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}


_RAISE_LIMIT = ", or raise data.max_pixels"


def image_size(data: bytes, *, where: object, max_pixels: int) -> tuple[int, int]:
    """(width, height) from the header alone. Raises ImageError."""
    return open_image(data, where, max_pixels, ImageError).size


def decode_image(data: bytes, *, where: object, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a PNG, JPEG, WebP, AVIF, BMP or TIFF as a viewer shows it. Raises ImageError.

    Grey, palette and CMYK images become RGB, alpha is dropped, 16-bit RGB keeps its high bytes. Images whose range is
    not known are refused: greyscale of 16 bits or float, and 16-bit RGB that uses the lower 12 bits only.
    """
    return decode_turned(data, where=where, max_pixels=max_pixels).pixels


class TurnedImage(NamedTuple):
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB as a viewer shows it
    orientation: int  # of the file: how its stored pixels were turned


def decode_turned(data: bytes, *, where: object, max_pixels: int) -> TurnedImage:
    """As `decode_image`, with the orientation that the file states."""
    image = open_image(data, where, max_pixels, ImageError)
    check_data(data, where, ImageError)
    turned = orientation(image)
    pixels = rgb_pixels(image, where)
    if depth(image, data) == 16 and pixels.max() < _MIN_HIGH_BYTE:
        what = "has 16 bits per channel and uses less than 13 of them, so it would be almost black"
        raise ImageError(where, what, "convert it to 8-bit RGB")
    return TurnedImage(pixels, turned)


def depth(image: ImageFile.ImageFile, data: bytes) -> int:
    """Bits per sample of an opened image in its file; 8 for formats that know no other."""
    if data.startswith(SIGNATURE):
        return data[24]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        return int(bits[0] if isinstance(bits, tuple) else bits)
    return 1 if image.mode == "1" else 8


def orientation(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation of an opened image, 1 to 8, before Pillow decodes it: it turns a TIFF and drops the tag."""
    try:
        tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else image.getexif()
        value = tags.get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken metadata: viewers show such an image as it is stored
        return 1
    return value if value in _TURNS else 1


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels (H, W) or (H, W, C) as an EXIF orientation says."""
    return np.ascontiguousarray(_TURNS[orientation](pixels)) if orientation in _TURNS else pixels


def turn_back(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The inverse of `turn`."""
    return turn(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def decode_label(data: bytes, *, where: object, classes: ClassSet, encoding: str, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W) uint8 train ids, 255 = ignore, of a label PNG in one of the encodings of `schema.LabelRow`.

    Raises LabelError for any other format or pixel type, and for ids that the class set does not know.
    """
    legal, to_train = label_tables(classes, encoding)
    ids = label_ids(data, where=where, encoding=encoding, max_pixels=max_pixels)
    if not legal[np.flatnonzero(np.bincount(ids.ravel(), minlength=256))].all():
        refuse_values(np.unique(ids[~legal[ids]]), ids, where, classes.name)
    return to_train.take(ids)


def label_ids(data: bytes, *, where: object, encoding: str, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W) uint8 ids as a label PNG holds them. Raises LabelError for any other format or pixel type."""
    _check_label_header(data, where, palette=encoding == "palette_ids")
    image = open_image(data, where, max_pixels, LabelError)
    check_data(data, where, LabelError)
    return _pixels(image, where, LabelError, mode=image.mode)


def label_tables(classes: ClassSet, encoding: str) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """(256,) whether an id may stand in a label of this encoding, and (256,) its train id."""
    own = encoded_values(encoding)
    if own is None and encoding != "train_ids":
        return classes.legal(), classes.to_train()
    values, ignored = own or (tuple(range(classes.num_classes)), (IGNORE,))
    to_train = np.full(256, IGNORE, np.uint8)
    to_train[list(values)] = np.arange(classes.num_classes)
    legal = np.zeros(256, bool)
    legal[[*values, *ignored]] = True
    return legal, to_train


def open_image(
    data: bytes, where: object, max_pixels: int, error_type: type[DataError], readers: Readers = READERS
) -> ImageFile.ImageFile:
    """Open an image by its header alone and check its size; no pixel is decoded. Raises `error_type`."""
    reader = next((reader for matches, reader in readers if matches(data)), None)
    if reader is None:
        what = "is no PNG, JPEG, WebP, BMP, TIFF or AVIF" if data else "is an empty file"
        raise error_type(where, what, "replace or remove it")
    with decoding(where, "broken header", error_type):
        image = _opened(reader, data, where, error_type)
    check_size(image.size, where, max_pixels, error_type)
    return image


def _opened(
    reader: type[ImageFile.ImageFile], data: bytes, where: object, error_type: type[DataError]
) -> ImageFile.ImageFile:
    try:
        return reader(BytesIO(data))
    except Exception as error:
        bands = _tiff_bands(data) if reader is TiffImagePlugin.TiffImageFile else 0
        if bands not in (0, 1, 3):  # Pillow's own error does not say that it cannot read them
            what = f"is a TIFF whose {bands} bands (channels) are laid out in a way that is not read"
            raise error_type(where, what, "convert it to 8-bit RGB") from error
        raise


def _tiff_bands(data: bytes) -> int:
    """The number of bands of a TIFF, 0 if it cannot be read."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:16] if b"+" in data[:4] else data[:8])
        stream = BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        return int(tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1))
    except Exception:  # any error of a damaged header
        return 0


@contextmanager
def decoding(where: object, what: str, error_type: type[DataError]) -> Iterator[None]:
    """Turn any exception of a decoder, which broken bytes may cause, into one line of `error_type`."""
    try:
        yield
    except (MemoryError, DataError):
        raise
    except Exception as error:
        raise error_type(where, f"{what}: {error}", "replace or remove it") from error


def check_size(size: tuple[int, int], where: object, max_pixels: int, error_type: type[DataError]) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise error_type(where, f"has no pixels ({width} x {height})", "replace or remove it")
    if width * height > max_pixels:
        what = f"{width} x {height} pixels are more than the limit of {max_pixels}"
        raise error_type(where, what, f"shrink it{_RAISE_LIMIT}")


@contextmanager
def naming_limit(setting: str) -> Iterator[None]:
    """Where an image is too large, the remedy names this setting in place of `data.max_pixels`; empty: none."""
    try:
        yield
    except DataError as error:
        if _RAISE_LIMIT not in error.remedy:
            raise
        remedy = error.remedy.replace(_RAISE_LIMIT, f", or raise {setting}" if setting else "")
        raise type(error)(error.where, error.what, remedy) from error


def rgb_pixels(image: ImageFile.ImageFile, where: object) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) uint8 of an opened image. Raises ImageError."""
    if image.mode not in _TO_RGB:
        raise ImageError(where, f"pixels of mode {image.mode!r} have no agreed range", "convert it to 8-bit RGB")
    image.info.pop("transparency", None)
    pixels = _pixels(image, where, ImageError, mode="RGB")
    return pixels if isinstance(image, TiffImagePlugin.TiffImageFile) else turn(pixels, orientation(image))


def _pixels(image: ImageFile.ImageFile, where: object, error_type: type[DataError], *, mode: str) -> NDArray[np.uint8]:
    with decoding(where, "cannot be decoded", error_type):
        converted: Image.Image = image if image.mode == mode else image.convert(mode)
        return np.array(converted, dtype=np.uint8)  # a copy: torch refuses read-only memory


def check_data(data: bytes, where: object, error_type: type[DataError]) -> None:
    """Check for damage that a decoder does not notice. Raises `error_type`."""
    if data.startswith(SIGNATURE):
        with decoding(where, "cannot be decoded", error_type):
            intact_length(data)


def _check_label_header(data: bytes, where: object, *, palette: bool) -> None:
    if not data.startswith(SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 33:
        raise LabelError(where, "is no PNG, so it cannot be a label map", "store class ids as 8-bit greyscale PNG")
    depth, colour = data[24], data[25]
    if (depth, colour) == (8, _GREY) or (palette and colour == _PALETTE):
        return
    remedy = "store class ids as 8-bit greyscale PNG"
    if colour == _PALETTE:
        remedy += ": PIL.Image.fromarray(numpy.array(PIL.Image.open(file))).save(file) turns indices into ids"
    colour_type = _COLOUR_TYPES.get(colour, "unknown")
    raise LabelError(where, f"is a {depth}-bit {colour_type} PNG, not 8-bit greyscale", remedy)


def refuse_values(
    unknown: NDArray[Any],
    values: NDArray[Any],
    where: object,
    classes: str,
    show: Callable[[int], str] = lambda value: f"id {value}",
) -> NoReturn:
    """Raise LabelError for values that a class set does not know, with the place of the first one."""
    row, column = np.argwhere(values == unknown[0])[0]
    shown = ", ".join([show(int(unknown[0])), *(show(int(value)).partition(" ")[2] for value in unknown[1:8])])
    what = f"{shown} (first at row {row}, column {column}) is not in {classes!r}"
    raise LabelError(where, what, "correct the file or the class set (ids, ignored_ids)")
