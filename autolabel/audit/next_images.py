"""The images that a person should label next: doubt, rarity and diversity, from codes alone.

The gain of a set of images is the sum, over groups of images and classes, of the square root of the expected wrong
pixels that it holds, weighted by rarity. The square root makes a second image with the same doubts worth less than the
first, and an image of another drive more. A greedy choice reaches at least 63 % of the best gain (Nemhauser, Wolsey and
Fisher, An analysis of approximations for maximizing submodular set functions, 1978).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.audit.cells import CellIndex
from autolabel.audit.queue import rarity

Floats = NDArray[np.float64]


class Chosen(NamedTuple):
    image: int  # position in the label set
    gain: float  # what it adds, as a fraction of the gain of all images
    wrong: float  # expected number of its pixels that the teacher has wrong


def doubt_of(index: CellIndex, right: Floats) -> Floats:
    """(N, K) expected wrong pixels of each image by the class that the teacher saw, labelled or ignored.

    `right` (K, B) is the probability that a pixel of a class and bin is right; pixels that a person drew count as
    right.
    """
    doubt = np.zeros((len(index.images), index.num_classes))
    for rows, classes, bins, pixels in (index.labelled(), index.ignored()):
        own = bins < index.bins
        wrong = pixels[own] * (1 - right[classes[own], bins[own]])
        np.add.at(doubt, (rows[own], classes[own]), wrong)
    return doubt


def choose_next(doubt: Floats, groups: Sequence[str], class_pixels: NDArray[np.integer], number: int) -> list[Chosen]:
    """The images to label, the most valuable first; `doubt` (N, K), the group of each image, pixels per class (K,)."""
    _, group = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    weights = rarity(class_pixels)
    held = np.zeros((int(group.max()) + 1 if len(group) else 0, doubt.shape[1]))
    whole = np.zeros_like(held)
    np.add.at(whole, group, doubt)
    total = max(float((np.sqrt(whole) * weights).sum()), 1e-12)
    left = np.ones(len(doubt), bool)
    chosen = []
    for _ in range(min(number, len(doubt))):
        gains = ((np.sqrt(held[group] + doubt) - np.sqrt(held[group])) * weights).sum(axis=1)
        best = int(np.argmax(np.where(left, gains, -1.0)))
        left[best] = False
        held[group[best]] += doubt[best]
        chosen.append(Chosen(best, float(gains[best]) / total, float(doubt[best].sum())))
    return chosen
