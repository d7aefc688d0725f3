"""CutMix and ClassMix: a part of one sample is pasted onto another, its label with it.

Which pixels is decided by the pasted sample's label (h, w) uint8 and a random generator alone. What is ignored in it
stays ignored where it lands: nothing is learnt from it, and no label of the picture below shines through.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from autolabel.classes import IGNORE
from autolabel.config import Augment


def cutmix(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(h, w) bool: a box of the crop's shape and a share of its area uniform in 0..1, about a random centre, cut off at
    the border (Yun et al., arXiv 1905.04899, section 3.1 with alpha = 1)."""
    share, *centre = rng.random(3)
    mask = np.zeros(label.shape, dtype=bool)
    mask[tuple(_side(n, math.sqrt(share), at) for n, at in zip(label.shape, centre, strict=True))] = True
    return mask


def _side(length: int, share: float, centre: float) -> slice:
    middle, half = int(centre * length), int(share * length) // 2
    return slice(max(0, middle - half), min(length, middle + half))


def classmix(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(h, w) bool: all pixels of half of the classes present, rounded up (Olsson et al., arXiv 2007.07936).

    Ignored pixels are of no class: they are never pasted.
    """
    present = np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE])
    table = np.zeros(256, dtype=bool)
    table[rng.permutation(present)[: (len(present) + 1) // 2]] = True
    return table[label]


Mix = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def draw_mix(settings: Augment, rng: np.random.Generator) -> Mix | None:
    """What is done to a sample, if anything."""
    u = rng.random()
    if u < settings.cutmix:
        return cutmix
    return classmix if u < settings.cutmix + settings.classmix else None
