"""Pictures that are made of several: frames of an animation, pages of a TIFF."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, ImageFile, TiffImagePlugin

from autolabel.data.decode import READERS, Readers, check_data, check_size, decoding, open_picture, rgb_pixels
from autolabel.errors import ImageError

# A GIF's 256 colours are too poor to train on; one may still be looked at.
_MOVING: Readers = (*READERS, (lambda data: data[:6] in (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile))
_SUBFILE_TYPE, _COPY_OR_MASK = 254, 0b101  # TIFF 6.0, section 8: NewSubfileType


class Frames(NamedTuple):
    several: bool  # whether the file holds more than one
    pictures: Generator[NDArray[np.uint8]]  # (H, W, 3) RGB, decoded when asked for, which may raise ImageError


def decode_frames(data: bytes, *, where: object, max_pixels: int) -> Frames:
    """All frames of an animated PNG, WebP or GIF, all pages of a TIFF; of a still picture that one.

    Each as `decode_image` gives it; pages may differ in size. The overviews and masks that a TIFF holds beside a large
    picture are no pages. Raises ImageError.
    """
    picture = open_picture(data, where, max_pixels, ImageError, _MOVING)
    check_data(data, where, ImageError)
    with decoding(where, "broken header", ImageError):
        numbers = _pages(picture) if isinstance(picture, TiffImagePlugin.TiffImageFile) else _numbers(picture)
    return Frames(len(numbers) > 1, _decoded(picture, numbers, where, max_pixels))


def _numbers(picture: ImageFile.ImageFile) -> Sequence[int]:
    return range(getattr(picture, "n_frames", 1))


def _pages(picture: TiffImagePlugin.TiffImageFile) -> Sequence[int]:
    found = []
    for number in range(picture.n_frames):
        picture.seek(number)
        if not picture.tag_v2.get(_SUBFILE_TYPE, 0) & _COPY_OR_MASK:
            found.append(number)
    picture.seek(0)
    return found or [0]


def _decoded(
    picture: ImageFile.ImageFile, numbers: Sequence[int], where: object, max_pixels: int
) -> Generator[NDArray[np.uint8]]:
    for count, number in enumerate(numbers):
        place = f"{where}, frame {count}" if len(numbers) > 1 else where
        if len(numbers) > 1:
            with decoding(place, "cannot be decoded", ImageError):
                picture.seek(number)
            check_size(picture.size, place, max_pixels, ImageError)
        yield rgb_pixels(picture, place)
