"""Frames of video files, decoded by PyAV (FFmpeg), within bounds: a foreign file may be broken or hostile.

PyAV is the extra `video`. Only the container that a file's name promises is tried: FFmpeg's own guessing would also
take play lists, which name further files and addresses to read. The rotation that a phone notes in the file is
applied: unlike a picture's, a frame's pixels belong to no label map.

Pictures that are made of several: frames of an animation, pages of a TIFF.
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
_PADDING = 100_000  # pixels: more than FFmpeg adds to a small frame


def expected_frames(file: BinaryIO, container: str, *, where: object, max_pixels: int) -> int:
    """How many frames the header of a video promises; 0 where it says nothing. Nothing is decoded.

    Raises ConfigError where PyAV is missing, ImageError for what is no video or has larger frames.
    """
    with _opened(file, container, where, max_pixels) as (box, stream):
        seconds = (box.duration or 0) / 1_000_000
        return max(0, stream.frames or round(seconds * float(stream.average_rate or 0)))


def decode_video(file: BinaryIO, container: str, *, where: object, max_pixels: int) -> Generator[NDArray[np.uint8]]:
    """The frames (H, W, 3) uint8 RGB of the first picture track, one by one, as a player shows them.

    Raises what `expected_frames` raises, and ImageError at the first frame that is damaged.
    """
    with _opened(file, container, where, max_pixels) as (box, stream):
        frames = box.decode(stream)
        for number in count():
            place = f"{where}, frame {number}"
            with _one_line(place, "cannot be decoded"):
                frame = next(frames, None)
                if frame is None:
                    break
                check_size((frame.width, frame.height), place, max_pixels, ImageError)  # it may change on the way
                if frame.is_corrupt:
                    raise ImageError(place, "is damaged", "replace the file")
                picture = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield np.ascontiguousarray(picture)
    if not number:
        raise ImageError(where, "holds no frame", "replace or remove it")


@contextmanager
def _opened(file: BinaryIO, container: str, where: object, max_pixels: int) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its first picture track, judged by the header."""
    av = _pyav(where)
    # FFmpeg decodes a little in opening, and would not ask us. It counts the padding of its buffers too.
    limit = {"max_pixels": str(2 * max_pixels + _PADDING)}
    with _one_line(where, "cannot be read as a video"):
        box = av.open(file, format=container, options=limit, io_open=_refuse, metadata_errors="replace")
    with box:
        if not box.streams.video:
            raise ImageError(where, "holds no pictures", "replace or remove it")
        stream = box.streams.video[0]
        codec = stream.codec_context
        if codec is None:
            raise ImageError(where, "is of a kind that PyAV cannot decode", "convert it, to H.264 for instance")
        if not codec.width * codec.height:
            what = f"has no size, or one far above the limit of {max_pixels} pixels"
            raise ImageError(where, what, "shrink or replace it")
        check_size((codec.width, codec.height), where, max_pixels, ImageError)
        # explode: otherwise a damaged frame is patched up in silence
        codec.options = {**limit, "err_detect": "explode"}
        yield box, stream


@contextmanager
def _one_line(where: object, what: str) -> Iterator[None]:
    from av.error import FFmpegError

    with decoding(where, what, ImageError):
        try:
            yield
        except FFmpegError as error:  # some are MemoryErrors: of a size that the file made up
            raise ValueError(error.strerror) from error


def _pyav(where: object) -> Any:
    try:
        import av
    except ImportError as error:
        raise ConfigError(where, "a video needs PyAV", "pip install 'autolabel[video]'") from error
    return av


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """In place of FFmpeg's own way to open what a video refers to."""
    raise PermissionError(f"a video refers to {url!r}")


# A GIF's 256 colours are too poor to train on; one may still be looked at.
_MOVING: Readers = (*READERS, (lambda data: data[:6] in (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile))
_SUBFILE_TYPE, _COPY_OR_MASK = 254, 0b101  # TIFF 6.0, section 8: NewSubfileType


class FrameSequence(NamedTuple):
    several: bool  # whether the file holds more than one
    pictures: Generator[NDArray[np.uint8]]  # (H, W, 3) RGB, decoded when asked for, which may raise ImageError


def decode_frames(data: bytes, *, where: object, max_pixels: int) -> FrameSequence:
    """All frames of an animated PNG, WebP or GIF, all pages of a TIFF; of a still picture that one.

    Each as `decode_image` gives it; pages may differ in size. The overviews and masks that a TIFF holds beside a large
    picture are no pages. Raises ImageError.
    """
    picture = open_image(data, where, max_pixels, ImageError, _MOVING)
    check_data(data, where, ImageError)
    with decoding(where, "broken header", ImageError):
        numbers = _pages(picture) if isinstance(picture, TiffImagePlugin.TiffImageFile) else _numbers(picture)
    return FrameSequence(len(numbers) > 1, _decoded(picture, numbers, where, max_pixels))


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
    for index, number in enumerate(numbers):
        place = f"{where}, frame {index}" if len(numbers) > 1 else where
        if len(numbers) > 1:
            with decoding(place, "cannot be decoded", ImageError):
                picture.seek(number)
            check_size(picture.size, place, max_pixels, ImageError)
        yield rgb_pixels(picture, place)
