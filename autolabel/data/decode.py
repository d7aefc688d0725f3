"""Decode image and label files within bounds: a foreign file may be broken, hostile, or not what its name says.

The header's size is checked before any pixel is decoded. Every error names `where`. EXIF orientation is not applied,
because label maps match the pixels as stored. Of several frames only the first is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

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
    (lambda data: data[:4] in (b"II*\0", b"MM\0*"), TiffImagePlugin.TiffImageFile),
)
# Modes with an undisputed conversion to 8-bit RGB; alpha is dropped, not blended.
_TO_RGB = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_COLOUR_TYPES = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with alpha", 6: "RGBA"}
_GREY, _PALETTE = 0, 3


def image_size(data: bytes, *, where: object, max_pixels: int) -> tuple[int, int]:
    """(width, height) from the header alone. Raises ImageError."""
    return open_image(data, where, max_pixels, ImageError).size


def decode_image(data: bytes, *, where: object, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a PNG, JPEG, WebP, BMP or TIFF. Raises ImageError.

    Grey, palette and CMYK images become RGB, alpha is dropped, 16-bit RGB keeps its high bytes. 16-bit or float
    greyscale is refused because its range is not known.
    """
    image = open_image(data, where, max_pixels, ImageError)
    check_data(data, where, ImageError)
    return rgb_pixels(image, where)


def decode_label(data: bytes, *, where: object, classes: ClassSet, encoding: str, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W) uint8 train ids, 255 = ignore, of a label PNG in one of the encodings of `schema.LabelRow`.

    Raises LabelError for any other format or pixel type, and for ids that the class set does not know.
    """
    legal, to_train = _tables(classes, encoding)
    _check_label_header(data, where, palette=encoding == "palette_ids")
    image = open_image(data, where, max_pixels, LabelError)
    check_data(data, where, LabelError)
    ids = _pixels(image, where, LabelError, mode=image.mode)
    if not legal[np.flatnonzero(image.histogram())].all():
        _refuse_ids(ids, legal, where, classes)
    return to_train.take(ids)


def _tables(classes: ClassSet, encoding: str) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
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
        what = "is no PNG, JPEG, WebP, BMP or TIFF" if data else "is an empty file"
        raise error_type(where, what, "replace or remove it")
    with decoding(where, "broken header", error_type):
        image = reader(BytesIO(data))
    check_size(image.size, where, max_pixels, error_type)
    return image


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
        raise error_type(where, what, "shrink it, or raise data.max_pixels")


def rgb_pixels(image: ImageFile.ImageFile, where: object) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) uint8 of an opened image. Raises ImageError."""
    if image.mode not in _TO_RGB:
        raise ImageError(where, f"pixels of mode {image.mode!r} have no agreed range", "convert it to 8-bit RGB")
    image.info.pop("transparency", None)
    return _pixels(image, where, ImageError, mode="RGB")


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


def _refuse_ids(ids: NDArray[np.uint8], legal: NDArray[np.bool_], where: object, classes: ClassSet) -> None:
    illegal = np.unique(ids[~legal[ids]])
    row, column = np.argwhere(ids == illegal[0])[0]
    what = f"id {', '.join(map(str, illegal[:8]))} (first at row {row}, column {column}) is not in {classes.name!r}"
    raise LabelError(where, what, "correct the file or the class set (ids, ignored_ids)")
