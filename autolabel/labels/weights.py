"""How much a labelled pixel counts in training: the probability of its label, as far as its code tells it.

A map of weights is an 8-bit grey PNG like the label's, 255 = 1. It is an alternative to a hard threshold: cut low, and
let each pixel count as much as the teacher was sure of it.
"""

from __future__ import annotations

import numpy as np

from autolabel.classes import IGNORE
from autolabel.labels.codes import CodeBook

FULL = 255


def weight_table(book: CodeBook) -> np.ndarray:
    """The table (256,) or (65536,) uint8 from a code to its weight: 255 times the middle of its probability bin."""
    limits = np.array([0.0, *book.edges, 1.0])
    middles = np.round(FULL * (limits[:-1] + limits[1:]) / 2).astype(np.uint8)  # (bins,)
    table = np.zeros(book.invalid + 1, dtype=np.uint8)
    table[: book.num_codes] = np.repeat(np.tile(middles, book.num_classes), book.seconds)
    return table


def weigh(
    codes: np.ndarray, labels: np.ndarray, table: np.ndarray, *, coarse: np.ndarray | None, policy: str
) -> np.ndarray:
    """(H, W) uint8 weights of labels cut from the codes: 0 where ignored, 255 where an annotator drew them."""
    weights = table[codes]
    if coarse is not None and policy == "fill":
        weights = np.where(coarse != IGNORE, np.uint8(FULL), weights)
    return np.where(labels == IGNORE, np.uint8(0), weights)
