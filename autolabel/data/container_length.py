"""The length that the container of a video states for itself: more than the file has where a copy broke off.

FFmpeg takes the end of a short file for the end of the film, without a word.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

_MOST_PARTS = 10_000  # a hostile file may hold millions; those of real films are few


def missing_bytes(file: BinaryIO, container: str) -> int:
    """Bytes by which the parts of a container (FFmpeg's name of it) go beyond the end of the file; 0 if none do."""
    before = file.tell()
    try:
        length = file.seek(0, os.SEEK_END)
        return max(0, _ENDS[container](file, length) - length)
    finally:
        file.seek(before)


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    """ISO 14496-12, 4.2: size (4 bytes), type (4), and for size 1 a size of 8 bytes; size 0 goes to the end."""
    at = 0
    for _ in range(_MOST_PARTS):
        head = _read(file, at, 16)
        if len(head) < 8 or not head[4:8].isascii():
            break
        size = int.from_bytes(head[:4])
        if size == 1:
            size = int.from_bytes(head[8:16])
        if size < 8:
            break
        at += size
    return at


def _end_of_riff(file: BinaryIO, length: int) -> int:
    """Chunks "RIFF", size (4 bytes, little-endian), content, padded to an even length."""
    at = 0
    for _ in range(_MOST_PARTS):
        head = _read(file, at, 8)
        if len(head) < 8 or head[:4] != b"RIFF":
            break
        at += 8 + int.from_bytes(head[4:8], "little")
        at += at % 2 if at < length else 0
    return at


def _end_of_segment(file: BinaryIO, length: int) -> int:
    """RFC 8794: the EBML header, then the segment; each has an id and a size, which may be unknown (all ones)."""
    at = 0
    for _ in range(2):
        head = _read(file, at, 12)
        id_length = _vint_length(head[:1])
        size_length = _vint_length(head[id_length : id_length + 1])
        if not id_length or not size_length or len(head) < id_length + size_length:
            return 0
        size = int.from_bytes(head[id_length : id_length + size_length]) & ((1 << 7 * size_length) - 1)
        if size == (1 << 7 * size_length) - 1:
            return 0
        at += id_length + size_length + size
    return at


def _vint_length(first: bytes) -> int:
    """Bytes of a number whose first byte is this: one more than its leading zeros; 0 for none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


_ENDS: dict[str, Callable[[BinaryIO, int], int]] = {
    "mov": _end_of_boxes,
    "avi": _end_of_riff,
    "matroska": _end_of_segment,
}
