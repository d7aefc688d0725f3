"""Bytes of pictures to arrays, within bounds: a foreign file may be broken, hostile, or not what its name says.

The size is judged from the header before any pixel is decoded. `where` stands in every error. EXIF orientation is not
applied: label maps belong to the pixels as they are stored. Of several frames the first counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from autolabel.classes import IGNORE, ClassSet
from autolabel.errors import DataError, ImageError, LabelError
from autolabel.labels.png import SIGNATURE, intact_length

# The plugins themselves rather than Image.open: they take no other format, and they leave the judgement of the size
# to us, where Image.open warns or raises at a limit of its own that only a process-wide variable changes.
Readers = tuple[tuple[Callable[[bytes], bool], type[ImageFile.ImageFile]], ...]
READERS: Readers = (
    (lambda data: data.startswith(SIGNATURE), PngImagePlugin.PngImageFile),
    (lambda data: data.startswith(b"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", WebPImagePlugin.WebPImageFile),
    (lambda data: data.startswith(b"BM"), BmpImagePlugin.BmpImageFile),
    (lambda data: data[:4] in (b"II*\0", b"MM\0*"), TiffImagePlugin.TiffImageFile),
)
# Modes with a conversion to 8-bit RGB that everybody agrees on; alpha is dropped, not blended.
_TO_RGB = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_COLOUR_TYPES = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with alpha", 6: "RGBA"}
_GREY, _PALETTE = 0, 3


def image_size(data: bytes, *, where: object, max_pixels: int) -> tuple[int, int]:
    """(width, height) from the header alone. Raises ImageError."""
    return open_image(data, where, max_pixels, ImageError).size


def decode_image(data: bytes, *, where: object, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a PNG, JPEG, WebP, BMP or TIFF. Raises ImageError.

    Grey, palette and CMYK pictures become RGB, alpha is dropped, 16-bit RGB keeps its high bytes. 16-bit or float
    greyscale is refused: its range is not known.
    """
    picture = open_image(data, where, max_pixels, ImageError)
    check_data(data, where, ImageError)
    return rgb_pixels(picture, where)


def decode_label(data: bytes, *, where: object, classes: ClassSet, encoding: str, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W) uint8 train ids, 255 = ignore, of a label PNG in one of the encodings of `rows.LabelRow`.

    Raises LabelError for any other format or pixel type, and for ids that the class set does not know.
    """
    legal, to_train = _tables(classes, encoding)
    _check_label_header(data, where, palette=encoding == "palette_ids")
    picture = open_image(data, where, max_pixels, LabelError)
    check_data(data, where, LabelError)
    ids = _pixels(picture, where, LabelError, mode=picture.mode)
    if not legal[np.flatnonzero(picture.histogram())].all():
        _refuse_ids(ids, legal, where, classes)
    return to_train.take(ids)


def _tables(classes: ClassSet, encoding: str) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    if encoding != "train_ids":
        return classes.legal(), classes.to_train()
    to_train = np.full(256, IGNORE, np.uint8)
    to_train[: classes.num_classes] = np.arange(classes.num_classes)
    legal = to_train != IGNORE
    legal[IGNORE] = True
    return legal, to_train


def open_image(
    data: bytes, where: object, max_pixels: int, error_type: type[DataError], readers: Readers = READERS
) -> ImageFile.ImageFile:
    """A picture of which only the header has been read, and found within bounds. Raises `error_type`."""
    reader = next((reader for matches, reader in readers if matches(data)), None)
    if reader is None:
        what = "is no PNG, JPEG, WebP, BMP or TIFF" if data else "is an empty file"
        raise error_type(where, what, "replace or remove it")
    with decoding(where, "broken header", error_type):
        picture = reader(BytesIO(data))
    check_size(picture.size, where, max_pixels, error_type)
    return picture


@contextmanager
def decoding(where: object, what: str, error_type: type[DataError]) -> Iterator[None]:
    """A decoder fed with broken bytes may raise anything: it becomes one line of `error_type`."""
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
        raise error_type(where, what, "shrink it, or raise data.max_pixels")


def rgb_pixels(picture: ImageFile.ImageFile, where: object) -> NDArray[np.uint8]:
    """(H, W, 3). Raises ImageError."""
    if picture.mode not in _TO_RGB:
        raise ImageError(where, f"pixels of mode {picture.mode!r} have no agreed range", "convert it to 8-bit RGB")
    picture.info.pop("transparency", None)
    return _pixels(picture, where, ImageError, mode="RGB")


def _pixels(
    picture: ImageFile.ImageFile, where: object, error_type: type[DataError], *, mode: str
) -> NDArray[np.uint8]:
    with decoding(where, "cannot be decoded", error_type):
        converted: Image.Image = picture if picture.mode == mode else picture.convert(mode)
        return np.array(converted, dtype=np.uint8)  # a copy: torch refuses read-only memory


def check_data(data: bytes, where: object, error_type: type[DataError]) -> None:
    """Refuse damage that a decoder would let pass. Raises `error_type`."""
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
    kind = _COLOUR_TYPES.get(colour, "unknown")
    raise LabelError(where, f"is a {depth}-bit {kind} PNG, not 8-bit greyscale", remedy)


def _refuse_ids(ids: NDArray[np.uint8], legal: NDArray[np.bool_], where: object, classes: ClassSet) -> None:
    found = np.unique(ids[~legal[ids]])
    row, column = np.argwhere(ids == found[0])[0]
    what = f"id {', '.join(map(str, found[:8]))} (first at row {row}, column {column}) is not in {classes.name!r}"
    raise LabelError(where, what, "correct the file or the class set (ids, ignored_ids)")
