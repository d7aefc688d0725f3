"""The text form of COCO's run lengths (cocoapi, maskApi.c): differences to the last but one count, in groups of 5 bits.

A character holds 5 bits of a two's complement number, lowest first; bit 5 says that more follow; 48 is added.
"""

from __future__ import annotations

import numpy as np

from autolabel.errors import LabelError
from autolabel.formats.runs import Counts

_LONGEST = 7  # characters of a number: 35 bits


def to_text(counts: Counts) -> str:
    """Counts below 2**32 as text."""
    rest = counts.astype(np.int64)
    rest[3:] -= counts[1:-2]
    characters = np.zeros((rest.size, _LONGEST), np.uint8)
    used = np.zeros((rest.size, _LONGEST), bool)
    open_ = np.ones(rest.size, bool)
    for place in range(_LONGEST):
        bits = rest & 31
        rest = rest >> 5
        more = np.where(bits & 16, rest != -1, rest != 0)
        characters[:, place] = bits + 32 * more + 48
        used[:, place] = open_
        open_ = open_ & more
    return characters[used].tobytes().decode("ascii")


def from_text(text: str, where: object) -> Counts:
    """The inverse of `to_text`. Raises LabelError for text that no encoder writes."""
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        codes = np.array([-1])
    ends = np.flatnonzero(codes & 32 == 0) + 1
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or not ends.size or ends[-1] != codes.size:
        raise LabelError(where, "the counts are no COCO run lengths", "export the annotation again")
    starts = np.append(0, ends[:-1])
    lengths = ends - starts
    if lengths.max() > _LONGEST:
        raise LabelError(where, "a run length is too large", "export the annotation again")
    place = np.arange(codes.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends - 1] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
