"""Label Studio's brush: run lengths of RGBA bytes in a stream of bits (rle-pack of the umbrella libraries).

    32 bits: number of words; 5: word size - 1; 4 x 4: sizes of the four kinds of length, each - 1
    then per block: 1 bit: run or literal; 2 bits: which size of length; length - 1; the word, or that many words

Alpha is the mask: the other channels repeat it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import LabelError
from autolabel.formats.runs import Counts

_SIZES = (3, 4, 8, 16)  # bits of a length, as Label Studio writes them
_LONGEST = 1 << _SIZES[-1]
_REMEDY = "export the annotation again"


def encode(counts: Counts) -> list[int]:
    """Counts of pixels, outside first, as the list of bytes that `value.rle` holds; inside has alpha 255."""
    lengths, inside = _split(4 * counts, np.arange(counts.size) % 2 == 1)
    size_index = np.searchsorted([1 << size for size in _SIZES], lengths)
    size = np.array(_SIZES)[size_index]
    value = np.where(inside, 255, 0)
    code = (((4 + size_index) << size | (lengths - 1)) << 8) | value
    width = 3 + size + 8
    place = np.arange(27) - (27 - width[:, None])
    bits = (code[:, None] >> (26 - np.arange(27))) & 1
    header = [int(bit) for bit in f"{4 * int(counts.sum()):032b}{7:05b}" + "".join(f"{s - 1:04b}" for s in _SIZES)]
    stream = np.concatenate([np.array(header, np.uint8), bits[place >= 0].astype(np.uint8)])
    return np.packbits(stream).tolist()


def _split(lengths: Counts, inside: NDArray[np.bool_]) -> tuple[Counts, NDArray[np.bool_]]:
    """Runs of at most `_LONGEST`; empty ones are dropped."""
    number = -(-lengths // _LONGEST)
    first = np.cumsum(number) - number
    index = np.arange(int(number.sum())) - np.repeat(first, number)
    rest = np.repeat(lengths, number) - index * _LONGEST
    return np.minimum(rest, _LONGEST), np.repeat(inside, number)


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._data, self._at, self.size = data, 0, 8 * len(data)

    def read(self, count: int) -> int:
        first, self._at = self._at, self._at + count
        if self._at > self.size:
            raise EOFError
        chunk = self._data[first >> 3 : (self._at + 7) >> 3]
        return int.from_bytes(chunk) >> (-self._at % 8) & ((1 << count) - 1)

    def words(self, number: int, size: int) -> NDArray[np.uint8]:
        """`number` words of 8 bits."""
        first, self._at = self._at, self._at + number * size
        if self._at > self.size:
            raise EOFError
        bits = np.unpackbits(np.frombuffer(self._data[first >> 3 : (self._at + 7) >> 3], np.uint8))
        return np.packbits(bits[first % 8 : first % 8 + number * size])


def decode(rle: object, height: int, width: int, where: object) -> NDArray[np.bool_]:
    """(H, W) mask of the pixels with alpha above 0. Raises LabelError."""
    if not isinstance(rle, list) or not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
        raise LabelError(where, "the rle is no list of bytes", _REMEDY)
    bits = _Bits(bytes(rle))
    try:
        return _decode(bits, height, width, where)
    except EOFError as error:
        raise LabelError(where, "the rle is cut short", _REMEDY) from error


def _decode(bits: _Bits, height: int, width: int, where: object) -> NDArray[np.bool_]:
    number, word = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if number != 4 * height * width:
        what = f"the rle holds {number / 4:g} pixels, the image has {height * width}"
        raise LabelError(where, what, "export the image again")
    if word != 8:
        raise LabelError(where, f"the rle has words of {word} bits, not 8", _REMEDY)
    flat = np.zeros(number, np.uint8)
    at = 0
    while at < number:
        is_run = bits.read(1)
        end = at + 1 + bits.read(sizes[bits.read(2)])
        if end > number:
            raise LabelError(where, "the rle is longer than it says", _REMEDY)
        flat[at:end] = bits.read(8) if is_run else bits.words(end - at, 8)
        at = end
    return flat.reshape(height, width, 4)[:, :, 3] > 0
