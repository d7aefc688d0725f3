"""Frames of video files, decoded by PyAV (FFmpeg), within bounds: a foreign file may be broken or hostile.

PyAV is the extra `video`. Only the container that a file's name promises is tried: FFmpeg's own guessing would also
take play lists, which name further files and addresses to read. The rotation that a phone notes in the file is
applied: unlike a picture's, a frame's pixels belong to no label map.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from autolabel.data.decode import check_size, decoding
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
