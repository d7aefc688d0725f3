"""Frames of videos, animations and TIFF pages, decoded within bounds: a foreign file may be broken or hostile.

PyAV (FFmpeg), the extra `video`, decodes videos. Only the container that a file's name promises is tried, because
FFmpeg's own detection also accepts playlists, which name other files and addresses to read. The rotation that a phone
stores in a video is applied: unlike those of an image, the pixels of a video frame match no label map.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, ImageFile, TiffImagePlugin

from autolabel.data.decode import READERS, Readers, check_data, check_size, decoding, open_image, rgb_pixels
from autolabel.distribution import install_command
from autolabel.errors import ConfigError, ImageError

# File name suffix -> FFmpeg's name of the container.
CONTAINERS = {
    ".mp4": "mov",
    ".m4v": "mov",
    ".mov": "mov",
    ".avi": "avi",
    ".mkv": "matroska",
    ".webm": "matroska",
}
_PADDING = 100_000  # pixels; FFmpeg adds fewer to a small frame


def expected_frames(file: BinaryIO, container: str, *, where: object, max_pixels: int) -> int:
    """Number of frames according to the header of a video, 0 = unknown. Nothing is decoded.

    Raises ConfigError if PyAV is missing, and ImageError if the file is no video or its frames are larger.
    """
    with _opened(file, container, where, max_pixels) as (box, stream):
        seconds = (box.duration or 0) / 1_000_000
        return max(0, stream.frames or round(seconds * float(stream.average_rate or 0)))


def decode_video(file: BinaryIO, container: str, *, where: object, max_pixels: int) -> Generator[NDArray[np.uint8]]:
    """Yield the frames (H, W, 3) uint8 RGB of the first video stream as a player shows them.

    Raises the errors of `expected_frames`, and ImageError at the first damaged frame.
    """
    with _opened(file, container, where, max_pixels) as (box, stream):
        frames = box.decode(stream)
        for number in count():
            place = f"{where}, frame {number}"
            with _one_line(place, "cannot be decoded"):
                frame = next(frames, None)
                if frame is None:
                    break
                check_size(
                    (frame.width, frame.height), place, max_pixels, ImageError
                )  # the size may change between frames
                if frame.is_corrupt:
                    raise ImageError(place, "is damaged", "replace the file")
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield np.ascontiguousarray(pixels)
    if not number:
        raise ImageError(where, "holds no frame", "replace or remove it")


@contextmanager
def _opened(file: BinaryIO, container: str, where: object, max_pixels: int) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its first video stream, checked by the header."""
    av = _pyav(where)
    # FFmpeg decodes some frames on opening, before any check here. Its limit also counts the padding of its buffers.
    limit = {"max_pixels": str(2 * max_pixels + _PADDING)}
    with _one_line(where, "cannot be read as a video"):
        box = av.open(file, format=container, options=limit, io_open=_refuse, metadata_errors="replace")
    with box:
        if not box.streams.video:
            raise ImageError(where, "holds no video stream", "replace or remove it")
        stream = box.streams.video[0]
        codec = stream.codec_context
        if codec is None:
            raise ImageError(where, "has a codec that PyAV cannot decode", "convert it, for instance to H.264")
        if not codec.width * codec.height:
            what = f"has no size, or one far above the limit of {max_pixels} pixels"
            raise ImageError(where, what, "shrink or replace it")
        check_size((codec.width, codec.height), where, max_pixels, ImageError)
        # explode: otherwise FFmpeg repairs a damaged frame in silence
        codec.options = {**limit, "err_detect": "explode"}
        yield box, stream


@contextmanager
def _one_line(where: object, what: str) -> Iterator[None]:
    from av.error import FFmpegError

    with decoding(where, what, ImageError):
        try:
            yield
        except FFmpegError as error:  # some are MemoryErrors, caused by a size that the file invents
            raise ValueError(error.strerror) from error


def _pyav(where: object) -> Any:
    try:
        import av
    except ImportError as error:
        raise ConfigError(where, "a video needs PyAV", install_command("video")) from error
    return av


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """Replaces FFmpeg's function to open the files that a video refers to."""
    raise PermissionError(f"a video refers to {url!r}")


# GIFs are only accepted here: their 256 colours are too few for training.
_MOVING: Readers = (*READERS, (lambda data: data[:6] in (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile))
_SUBFILE_TYPE, _COPY_OR_MASK = 254, 0b101  # TIFF 6.0, section 8: NewSubfileType


class FrameSequence(NamedTuple):
    several: bool  # whether the file holds more than one frame
    frames: Generator[NDArray[np.uint8]]  # (H, W, 3) RGB, decoded one by one, which may raise ImageError


def decode_frames(data: bytes, *, where: object, max_pixels: int) -> FrameSequence:
    """All frames of an animated PNG, WebP or GIF, or all pages of a TIFF; a still image is one frame.

    Frames are decoded as by `decode_image`; pages may differ in size. A TIFF's overviews and masks of another page are
    not pages. Raises ImageError.
    """
    image = open_image(data, where, max_pixels, ImageError, _MOVING)
    check_data(data, where, ImageError)
    with decoding(where, "broken header", ImageError):
        numbers = _pages(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else _numbers(image)
    return FrameSequence(len(numbers) > 1, _decoded(image, numbers, where, max_pixels))


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


def _decoded(
    image: ImageFile.ImageFile, numbers: Sequence[int], where: object, max_pixels: int
) -> Generator[NDArray[np.uint8]]:
    for index, number in enumerate(numbers):
        place = f"{where}, frame {index}" if len(numbers) > 1 else where
        if len(numbers) > 1:
            with decoding(place, "cannot be decoded", ImageError):
                image.seek(number)
            check_size(image.size, place, max_pixels, ImageError)
        yield rgb_pixels(image, place)
