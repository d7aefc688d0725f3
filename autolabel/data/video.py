"""Frames of videos, decoded within bounds: a foreign file may be broken or hostile.

PyAV (FFmpeg), the extra `video`, decodes videos. Only the container that a file's name promises is tried, because
FFmpeg's own detection also accepts playlists, which name other files and addresses to read. The rotation that a phone
stores in a video is applied: unlike those of an image, the pixels of a video frame match no label map.

A damaged packet costs the frames that are predicted from it. Decoding goes on at the next keyframe, and the error at
the end names all frames that are lost.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from autolabel.data.container_length import missing_bytes
from autolabel.data.decode import check_size, decoding
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
_NAMED = 5  # stretches of lost frames that an error names


class NumberedFrame(NamedTuple):
    number: int  # its position in the file, from 0
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB


def expected_frames(file: BinaryIO, container: str, *, where: object, max_pixels: int) -> int:
    """Number of frames according to the header of a video, 0 = unknown. Nothing is decoded.

    Raises ConfigError if PyAV is missing, and ImageError if the file is no video or its frames are larger.
    """
    with _opened(file, container, where, max_pixels) as (box, stream):
        seconds = (box.duration or 0) / 1_000_000
        return max(0, stream.frames or round(seconds * float(stream.average_rate or 0)))


def decode_video(
    file: BinaryIO, container: str, *, where: object, max_pixels: int, stop: int | None = None
) -> Generator[NumberedFrame]:
    """Yield the sound frames of the first video stream below number `stop`, as a player shows them.

    Raises the errors of `expected_frames`, and after the last frame ImageError if frames are damaged or the file is cut
    short.
    """
    lost = LostFrames()
    with _opened(file, container, where, max_pixels) as (box, stream):
        number = -1
        for number, frame in _frames(box, stream, lost):
            if stop is not None and number >= stop:
                break
            place = f"{where}, frame {number}"
            check_size((frame.width, frame.height), place, max_pixels, ImageError)  # it may change between frames
            with _one_line(place, "cannot be decoded"):
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield NumberedFrame(number, np.ascontiguousarray(pixels))
        else:
            if absent := missing_bytes(file, container):
                what = f"is cut short: {absent} bytes are missing at its end" + lost.clause()
                raise ImageError(where, what, "copy it again")
            lost.raise_if_any(where)
            if number < 0:
                raise ImageError(where, "holds no frame", "replace or remove it")
    lost.raise_if_any(where, below=stop)


@dataclass
class LostFrames:
    """Stretches (first, last) of frames that cannot be decoded, and the reason of the first."""

    stretches: list[tuple[int, int]] = field(default_factory=list)
    reason: str = ""

    def add(self, first: int, last: int, reason: str) -> None:
        if first > last:
            return
        self.reason = self.reason or reason
        if self.stretches and self.stretches[-1][1] == first - 1:
            first = self.stretches.pop()[0]
        self.stretches.append((first, last))

    def clause(self) -> str:
        """The frames as an end of a message; empty where none is lost."""
        return f"; {self._named(self.stretches)} cannot be decoded" if self.stretches else ""

    def raise_if_any(self, where: object, below: int | None = None) -> None:
        """ImageError that names the frames below a number."""
        if named := [stretch for stretch in self.stretches if below is None or stretch[0] < below]:
            what = f"cannot be decoded: {self.reason}"
            raise ImageError(f"{where}, {self._named(named)}", what, "replace or remove it")

    def _named(self, stretches: list[tuple[int, int]]) -> str:
        texts = [str(first) if first == last else f"{first} to {last}" for first, last in stretches]
        more = f" and {len(texts) - _NAMED} more stretches" if len(texts) > _NAMED else ""
        word = "frame" if texts == [texts[0]] and texts[0].isdigit() else "frames"
        return f"{word} {', '.join(texts[:_NAMED])}{more}"


def _frames(box: Any, stream: Any, lost: LostFrames) -> Iterator[tuple[int, Any]]:
    """(number, frame) of each sound frame. After damage the decoder starts anew at the next keyframe."""
    number = packets = 0  # of the next frame; packets read so far
    reason = ""  # not empty: waiting for a keyframe
    for packet in _packets(box, stream, lost):
        packets += packet.size > 0
        if reason and not packet.is_keyframe:
            continue
        if reason:
            stream.codec_context.flush_buffers()
            lost.add(number, packets - 2, reason)
            number, reason = max(number, packets - 1), ""
        frames, reason = _decoded(packet, stream)
        for frame in frames:
            if frame.is_corrupt:
                lost.add(number, number, "is damaged")
            else:
                yield number, frame
            number += 1
    if reason:
        lost.add(number, max(number, packets - 1), reason)
    elif lost.reason and not lost.stretches:
        lost.stretches.append((number, number))  # the file could not be read any further


def _packets(box: Any, stream: Any, lost: LostFrames) -> Iterator[Any]:
    """The packets of the stream, until one cannot be read."""
    from av.error import FFmpegError

    try:
        yield from box.demux(stream)
    except FFmpegError as error:
        lost.reason = lost.reason or str(error.strerror)


def _decoded(packet: Any, stream: Any) -> tuple[list[Any], str]:
    """The frames that a packet completes; on damage those before it, and the reason."""
    from av.error import FFmpegError

    try:
        return packet.decode(), ""
    except FFmpegError as error:
        reason = str(error.strerror)
    except Exception as error:  # what else a damaged packet may cause
        reason = str(error)
    try:
        return (stream.codec_context.decode(None) if packet.size else []), reason
    except FFmpegError:
        return [], reason


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
