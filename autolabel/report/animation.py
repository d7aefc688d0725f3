"""Writes frames to an animated WebP, one at a time.

Pillow needs all frames in memory at once; here only their compressed bytes are kept. Every frame is compressed alone,
which costs next to nothing for a film from a moving car.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from autolabel.errors import AutolabelError

MAX_SIDE = 16_383  # maximum of a WebP, in pixels
_MAX_BYTES = 2**32 - 100  # total of all frames; a RIFF file has a 32-bit size
_ANIMATION, _DO_NOT_BLEND = 0b10, 0b10  # flags of VP8X and of ANMF


class Animation:
    """An animated WebP with `fps` frames per second that loops for ever.

    The first frame sets the size: at most `width` pixels wide, never wider than the frame. Frames of another shape are
    fitted into that size on a black background.
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

    def add(self, image: NDArray[np.uint8]) -> None:
        """Append a (H, W, 3) RGB frame. AutolabelError past 4 GB, the limit of a WebP."""
        self._size = self._size or self._size_for(*image.shape[:2])
        frame = ImageOps.pad(Image.fromarray(image), self._size, Image.Resampling.BOX)
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
        """The bytes of the file, as consecutive chunks. There must be a frame."""
        assert self._size is not None, "no frame"
        head = _chunk(b"VP8X", bytes([_ANIMATION, 0, 0, 0]) + _size_minus_one(self._size))
        head += _chunk(b"ANIM", bytes(6))  # background: black, transparent; loops: without end
        size = len(b"WEBP") + len(head) + self._bytes
        return [b"RIFF" + size.to_bytes(4, "little") + b"WEBP" + head, *self._frames]

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        shrink = min(1.0, self._width / width, MAX_SIDE / height)
        return max(1, round(width * shrink)), max(1, round(height * shrink))


def _frame_chunk(still: bytes, size: tuple[int, int], milliseconds: int) -> bytes:
    """ANMF around the image data of a still WebP file (WebP container specification, "Animation")."""
    assert still[12:16] in (b"VP8 ", b"VP8L"), still[12:16]  # simple: neither alpha nor metadata
    header = bytes(6) + _size_minus_one(size)  # at the top left, all of the canvas
    return _chunk(b"ANMF", header + milliseconds.to_bytes(3, "little") + bytes([_DO_NOT_BLEND]) + still[12:])


def _size_minus_one(size: tuple[int, int]) -> bytes:
    width, height = size
    return (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)
