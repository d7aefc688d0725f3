"""Read the values of a mask file: ids, palette indices or colours, exactly as the file holds them.

A mask is a PNG, TIFF, BMP or lossless WebP. Files whose values are changed or not certain are refused: JPEG and other
lossy compression, several pages, blended transparency, and a file of another type than `data.mask_values` states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile, TiffImagePlugin

from autolabel.classes.mask_classes import MAX_ID
from autolabel.data.decode import TurnedImage, check_data, decoding, depth, open_image, orientation, turn, turn_back
from autolabel.errors import LabelError

Values = NDArray[Any]  # (H, W) uint8 or uint16 ids, or uint32 colours 0xRRGGBB
_LOSSY_TIFF = {"jpeg", "tiff_jpeg", "webp", "tiff_thunderscan"}
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF 6.0
_GREY_AS_COLOURS = ("RGB", "RGBA", "LA", "PA")
_EXPORT = "export the masks as PNG"
_PALETTE_REMEDY = 'set data.mask_values = "indices" if its palette indices are the ids, "colours" if its colours count'
_COLOUR_REMEDY = 'set data.mask_values = "colours" and write the colour of each class into the class file (palette)'


class MaskPixels(NamedTuple):
    """The values of a mask, turned as its own EXIF orientation says.

    `encoding` is the one of `schema.LabelRow` by which the file itself can be read, None if there is none.
    """

    values: Values
    orientation: int
    encoding: str | None


def read_mask(data: bytes, *, where: object, max_pixels: int, values: str) -> MaskPixels:
    """The values of a mask; `values` is the setting `data.mask_values`. Raises LabelError."""
    image = open_image(data, where, max_pixels, LabelError)
    check_data(data, where, LabelError)
    _refuse_lossy(image, data, where)
    bits = depth(image, data)
    turned = orientation(image)
    with decoding(where, "cannot be decoded", LabelError):
        image.load()
    pixels = _colours(image, bits, where) if values == "colours" else _ids(image, bits, where, values)
    if image.format != "TIFF":  # Pillow has turned a TIFF
        pixels = turn(pixels, turned)
    png = image.format == "PNG" and turned == 1 and values != "colours"
    encoding = {"L": "ids", "P": "palette_ids"}.get(image.mode) if png and (bits == 8 or image.mode == "P") else None
    return MaskPixels(pixels, turned, encoding)


def align(mask: MaskPixels, image: TurnedImage, setting: str | None, *, where: object, image_name: object) -> Values:
    """The values of a mask on the pixels of its image as shown.

    `setting` is `data.mask_orientation`; without it, sizes decide where they can. Raises LabelError where they cannot,
    and for a mask of another size than its image.
    """
    size = image.pixels.shape[:2]
    shown = mask.values
    stored = turn(turn_back(shown, mask.orientation), image.orientation)
    fits = {"shown": shown.shape == size, "stored": stored.shape == size}
    if setting is None and mask.orientation != image.orientation and all(fits.values()):
        what = (
            f"has EXIF orientation {mask.orientation}, its image {image_name} has {image.orientation}:"
            " it may be drawn on the image as viewers show it, or on the stored pixels"
        )
        raise LabelError(where, what, 'set data.mask_orientation = "shown" or "stored"')
    choice = setting or ("shown" if mask.orientation == image.orientation or fits["shown"] else "stored")
    if not fits[choice]:
        (height, width), (image_height, image_width) = shown.shape, size
        what = f"is {width} x {height}, its image {image_name} is {image_width} x {image_height}"
        raise LabelError(where, what, "a mask must have the size of its image")
    return shown if choice == "shown" else stored


def _refuse_lossy(image: ImageFile.ImageFile, data: bytes, where: object) -> None:
    tiff = image.info.get("compression") if image.format == "TIFF" else None
    lossy = image.format in ("JPEG", "MPO", "AVIF") or tiff in _LOSSY_TIFF
    if lossy or b"VP8 " in _riff_chunks(data):
        name = f"TIFF with {tiff} compression" if tiff else f"{image.format} of a lossy kind"
        raise LabelError(where, f"is a {name}: its compression changes the ids at borders", _EXPORT)
    pages = _num_pages(image, where)
    if pages > 1:
        raise LabelError(where, f"holds {pages} pages or frames", "a mask has one: merge them into one map of ids")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise LabelError(where, "is a TIFF whose zero means white, so its ids are not certain", _EXPORT)


def _riff_chunks(data: bytes) -> set[bytes]:
    """Names of the chunks of a WebP, none for other files; "VP8 " holds lossy pixels."""
    names: set[bytes] = set()
    start = 12 if data.startswith(b"RIFF") else len(data)
    while start + 8 <= len(data):
        names.add(data[start : start + 4])
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        start += 8 + size + size % 2
    return names


def _num_pages(image: ImageFile.ImageFile, where: object) -> int:
    with decoding(where, "broken header", LabelError):
        return int(getattr(image, "n_frames", 1))


def _ids(image: ImageFile.ImageFile, bits: int, where: object, values: str) -> Values:
    pixels = np.array(image)
    if image.mode == "P":
        if values != "indices":
            raise LabelError(where, "is a palette mask", _PALETTE_REMEDY)
        return pixels
    if image.mode == "1":
        return pixels.astype(np.uint8)
    if image.mode == "L":
        # Pillow spreads grey values of 2 and 4 bits over 0 to 255.
        return pixels // np.uint8(255 // (2**bits - 1)) if bits < 8 else pixels
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _whole(pixels, where)
    if image.mode in _GREY_AS_COLOURS and pixels.dtype == np.uint8 and bits <= 8:
        return _grey(pixels, image.mode, where)
    raise LabelError(where, f"has pixels of mode {image.mode!r} and {bits} bits, which hold no ids", _EXPORT)


def _whole(pixels: NDArray[Any], where: object) -> Values:
    """Numbers of any type as uint16."""
    fits = np.isfinite(pixels) & (pixels >= 0) & (pixels <= MAX_ID) & (np.floor(pixels) == pixels)
    if not fits.all():
        row, column = np.argwhere(~fits)[0]
        what = f"holds {pixels[row, column]} at row {row}, column {column}; ids are whole numbers from 0 to {MAX_ID}"
        raise LabelError(where, what, "export the masks with whole ids")
    return pixels.astype(np.uint16)


def _grey(pixels: NDArray[np.uint8], mode: str, where: object) -> Values:
    """The ids of a grey mask stored as RGB, RGBA or LA: equal channels, and opaque."""
    alpha = pixels[..., -1:] if mode in ("RGBA", "LA", "PA") else pixels[..., :0]
    colour = pixels[..., : pixels.shape[-1] - alpha.shape[-1]]
    if mode == "PA" or (colour != colour[..., :1]).any():
        raise LabelError(where, "is a colour mask", _COLOUR_REMEDY)
    if (alpha < 255).any():
        raise LabelError(where, "is partly transparent", "export the masks as opaque greyscale PNG")
    return np.ascontiguousarray(colour[..., 0])


def _colours(image: ImageFile.ImageFile, bits: int, where: object) -> Values:
    if bits > 8 or image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        what = f"has pixels of mode {image.mode!r} and {bits} bits, which hold no 8-bit colours"
        raise LabelError(where, what, _EXPORT)
    rgba = np.array(image.convert("RGBA")).astype(np.uint32)
    alpha, colours = rgba[..., 3], rgba[..., 0] << 16 | rgba[..., 1] << 8 | rgba[..., 2]
    if ((alpha > 0) & (alpha < 255)).any():
        remedy = "export the masks without smoothing, or name masks of ids or colours in data.masks"
        raise LabelError(where, "is blended: some pixels are half transparent", remedy)
    if (colours[alpha == 0] != 0).any():
        what = "has transparent pixels that hide a colour, so their class is not certain"
        raise LabelError(where, what, "flatten the masks onto a background colour")
    return colours


def show_value(value: int, values: str) -> str:
    """A value of a mask for people: "id 7", "colour (128, 0, 64)"."""
    if values == "colours":
        return f"colour ({value >> 16}, {value >> 8 & 255}, {value & 255})"
    return f"id {value}"


class Histogram(NamedTuple):
    """The values that a mask holds, in ascending order, and how many pixels have each."""

    values: NDArray[np.int64]
    pixels: NDArray[np.int64]


def histogram(values: Values) -> Histogram:
    if values.dtype == np.uint32:
        found, counts = np.unique(values, return_counts=True)
        return Histogram(found.astype(np.int64), counts.astype(np.int64))
    counts = np.bincount(values.ravel())
    found = np.flatnonzero(counts)
    return Histogram(found, counts[found])


def look_up(values: Values, found: NDArray[np.int64], table: Mapping[int, int]) -> NDArray[np.uint8]:
    """(H, W) uint8 train ids. `found` are the values of the histogram; `table` must have all of them."""
    train_ids = np.array([table[int(value)] for value in found], np.uint8)
    if values.dtype == np.uint32:
        return train_ids[np.searchsorted(found, values)]
    dense = np.zeros(int(found[-1]) + 1, np.uint8)
    dense[found] = train_ids
    return dense[values]


_FEW = 8  # a mask with fewer values is not smoothed
_BETWEEN = 0.9  # fraction of a value's pixels


def num_smoothed(values: Values, found: Histogram) -> int:
    """The number of ids that stand only on the way from a lower to a higher neighbour, as smoothing and JPEG make them.

    Colours have no order: always 0.
    """
    if len(found.values) < _FEW or values.dtype == np.uint32 or min(values.shape) < 3:
        return 0
    between = np.zeros(values.shape, bool)
    between[:, 1:-1] |= _strictly_between(values[:, :-2], values[:, 1:-1], values[:, 2:])
    between[1:-1] |= _strictly_between(values[:-2], values[1:-1], values[2:])
    counts = np.bincount(values[between], minlength=int(found.values[-1]) + 1)[found.values]
    return int((counts >= _BETWEEN * found.pixels).sum())


def _strictly_between(left: Values, middle: Values, right: Values) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = ((left < middle) & (middle < right)) | ((left > middle) & (middle > right))
    return inside
