"""Frames to an animated WebP, one at a time.

Pillow writes animations too, but wants all frames in memory at once; here only their compressed bytes are kept. Every
frame is compressed by itself, which costs a film taken from a moving car next to nothing.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from autolabel.errors import AutolabelError

MAX_SIDE = 16_383  # of a WebP, in pixels
_MAX_BYTES = 2**32 - 100  # of all frames; a RIFF file counts its bytes in 32 bits
_ANIMATION, _DO_NOT_BLEND = 0b10, 0b10  # flags of VP8X, of ANMF


class Animation:
    """An animated WebP that runs at `fps` frames a second, for ever.

    The first frame decides its size: `width` pixels wide, less where the frame is narrower. Frames of another shape
    are fitted into that size, on black.
    """

    def __init__(self, *, width: int, fps: float, quality: int = 80) -> None:
        assert 1 <= width <= MAX_SIDE, width
        assert 0 < fps <= 1000, fps
        self._width, self._milliseconds, self._quality = width, round(1000 / fps), quality
        self._size: tuple[int, int] | None = None
        self._frames: list[bytes] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Append a (H, W, 3) RGB frame. AutolabelError for more than 4 GB, which no WebP can be."""
        self._size = self._size or self._size_for(*picture.shape[:2])
        frame = ImageOps.pad(Image.fromarray(picture), self._size, Image.Resampling.BOX)
        buffer = io.BytesIO()
        frame.save(buffer, format="WEBP", quality=self._quality, method=4)
        chunk = _frame_chunk(buffer.getvalue(), self._size, self._milliseconds)
        self._bytes += len(chunk)
        if self._bytes > _MAX_BYTES:
            raise AutolabelError(
                f"frame {len(self._frames)}", "does not fit into a WebP", "take fewer or smaller frames"
            )
        self._frames.append(chunk)

    def chunks(self) -> list[bytes]:
        """The file's bytes in parts that follow each other. There must be a frame."""
        assert self._size is not None, "no frame"
        head = _chunk(b"VP8X", bytes([_ANIMATION, 0, 0, 0]) + _size_less_one(self._size))
        head += _chunk(b"ANIM", bytes(6))  # background: black, transparent; loops: without end
        size = len(b"WEBP") + len(head) + self._bytes
        return [b"RIFF" + size.to_bytes(4, "little") + b"WEBP" + head, *self._frames]

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        shrink = min(1.0, self._width / width, MAX_SIDE / height)
        return max(1, round(width * shrink)), max(1, round(height * shrink))


def _frame_chunk(still: bytes, size: tuple[int, int], milliseconds: int) -> bytes:
    """ANMF around the image data of a WebP file with one picture (WebP container specification, "Animation")."""
    assert still[12:16] in (b"VP8 ", b"VP8L"), still[12:16]  # plain: neither alpha nor metadata
    place = bytes(6) + _size_less_one(size)  # at the top left, all of the canvas
    return _chunk(b"ANMF", place + milliseconds.to_bytes(3, "little") + bytes([_DO_NOT_BLEND]) + still[12:])


def _size_less_one(size: tuple[int, int]) -> bytes:
    width, height = size
    return (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)
