"""Frames of animations and TIFF pages, decoded within bounds: a foreign file may be broken or hostile."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from PIL import GifImagePlugin, ImageFile, TiffImagePlugin

from autolabel.data.decode import READERS, Readers, check_data, check_size, decoding, open_image, rgb_pixels
from autolabel.data.video import LostFrames, NumberedFrame
from autolabel.errors import ImageError

# GIFs are only accepted here: their 256 colours are too few for training.
_MOVING: Readers = (*READERS, (lambda data: data[:6] in (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile))
_SUBFILE_TYPE, _COPY_OR_MASK = 254, 0b101  # TIFF 6.0, section 8: NewSubfileType


class FrameSequence(NamedTuple):
    several: bool  # whether the file holds more than one frame
    frames: Generator[NumberedFrame]  # decoded one by one, which may raise ImageError


def decode_frames(data: bytes, *, where: object, max_pixels: int, stop: int | None = None) -> FrameSequence:
    """The frames below number `stop` of an animated PNG, WebP or GIF, or the pages of a TIFF; a still image is one.

    Frames are decoded as by `decode_image`; pages may differ in size. A TIFF's overviews and masks of another page are
    not pages. Damaged pages are left out, and named in an ImageError after the last one; an animation ends at its first
    damaged frame, because the next ones build on it. Raises ImageError.
    """
    image = open_image(data, where, max_pixels, ImageError, _MOVING)
    check_data(data, where, ImageError)
    with decoding(where, "broken header", ImageError):
        numbers = _pages(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else _numbers(image)
        decode = _pages_decoded if isinstance(image, TiffImagePlugin.TiffImageFile) else _frames_decoded
    return FrameSequence(len(numbers) > 1, decode(image, numbers[:stop], len(numbers) > 1, where, max_pixels))


def _numbers(image: ImageFile.ImageFile) -> Sequence[int]:
    return range(getattr(image, "n_frames", 1))


def _pages(image: TiffImagePlugin.TiffImageFile) -> Sequence[int]:
    pages = []
    for number in range(image.n_frames):
        image.seek(number)
        if not image.tag_v2.get(_SUBFILE_TYPE, 0) & _COPY_OR_MASK:
            pages.append(number)
    image.seek(0)
    return pages or [0]


def _frames_decoded(
    image: ImageFile.ImageFile, numbers: Sequence[int], several: bool, where: object, max_pixels: int
) -> Generator[NumberedFrame]:
    for index, number in enumerate(numbers):
        yield _decoded(image, index, number if several else None, where, max_pixels)


def _pages_decoded(
    image: ImageFile.ImageFile, numbers: Sequence[int], several: bool, where: object, max_pixels: int
) -> Generator[NumberedFrame]:
    if not several:
        yield _decoded(image, 0, None, where, max_pixels)
        return
    lost = LostFrames()
    for index, number in enumerate(numbers):
        try:
            page = _decoded(image, index, number, where, max_pixels)
        except ImageError as error:
            lost.add(index, index, error.what)
        else:
            yield page
    lost.raise_if_any(where)


def _decoded(
    image: ImageFile.ImageFile, index: int, number: int | None, where: object, max_pixels: int
) -> NumberedFrame:
    """The frame at `number`, or the only one."""
    if number is None:
        return NumberedFrame(index, rgb_pixels(image, where))
    place = f"{where}, frame {index}"
    with decoding(place, "cannot be decoded", ImageError):
        image.seek(number)
    check_size(image.size, place, max_pixels, ImageError)
    return NumberedFrame(index, rgb_pixels(image, place))
