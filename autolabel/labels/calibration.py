"""The probability that a pixel of (class, bin) is right, estimated from held-out fine labels.

Classes are estimated together, each bin by itself (beta-binomial, empirical Bayes). A class with few held-out pixels in
a bin leans on the other classes there, and these lean on the network's own number. Pixels of one image are alike: they
count by their design effect, the variance between images over that of independent pixels (Kish, Survey Sampling, 1965,
section 5.4). The variance between classes is that of DerSimonian and Laird (1986). Within a class the estimates never
fall from a bin to a higher one (pool adjacent violators).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook

Floats = NDArray[np.float64]


class CellCounts:
    """Held-out pixels by class and bin; call `add` once per image. Its size does not depend on the number of images."""

    def __init__(self, book: Codebook) -> None:
        self.book, self.images = book, 0
        shape = (book.num_classes, book.bins)
        # Over images: how many have such pixels; sums of pixels n and right ones r, and of n * n, n * r, r * r.
        self.present, self.pixels, self.right, self.nn, self.nr, self.rr = (np.zeros(shape) for _ in range(6))

    def add(self, classes: NDArray[np.integer], bins: NDArray[np.integer], label: NDArray[np.integer]) -> None:
        """Count maps (H, W) of one image: winning classes (255 = no prediction), bins, fine label (255 = ignore)."""
        pixels, right = count_cells(self.book, classes, bins, label)
        self.images += 1
        self.present += pixels > 0
        self.pixels += pixels
        self.right += right
        self.nn += pixels * pixels
        self.nr += pixels * right
        self.rr += right * right

    def merged(self, other: CellCounts) -> CellCounts:
        both = CellCounts(self.book)
        both.images = self.images + other.images
        for name in ("present", "pixels", "right", "nn", "nr", "rr"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both


def count_cells(
    book: Codebook, classes: NDArray[np.integer], bins: NDArray[np.integer], label: NDArray[np.integer]
) -> tuple[Floats, Floats]:
    """(K, B) labelled pixels predicted as a class with a bin, and those of them that are right."""
    if classes.shape != label.shape:
        raise DataError("fine label", f"is {label.shape}, its image {classes.shape} (height, width)")
    used = (label < book.num_classes) & (classes < book.num_classes)
    right = used & (classes == label)
    return count_predicted(book, classes[used], bins[used]), count_predicted(book, classes[right], bins[right])


def count_predicted(book: Codebook, classes: NDArray[np.integer], bins: NDArray[np.integer]) -> Floats:
    """(K, B) pixels predicted as a class with a bin, labelled or not."""
    used = classes < book.num_classes
    cells = classes[used].astype(np.int64) * book.bins + bins[used]
    pixels = np.bincount(cells, minlength=book.num_classes * book.bins).astype(np.float64)
    return pixels.reshape(book.num_classes, book.bins)


def bin_middles(book: Codebook) -> Floats:
    """(B,) the network's own number for the pixels of each bin."""
    limits = np.array([0.0, *book.edges, 1.0])
    middles: Floats = (limits[:-1] + limits[1:]) / 2
    return middles


def calibrate(cells: CellCounts) -> Floats:
    """(K, B) probability that a pixel of the class and bin is right; it rises with the bin."""
    middles = bin_middles(cells.book)
    rates = _divide(cells.right, cells.pixels, 0.0)
    worth = _divide(cells.pixels, _design_effects(cells, rates)[None, :], 0.0)  # (K, B) independent pixels
    centres, strength = _pooled(worth, rates, middles)
    shrunk = (worth * rates + strength * centres) / (worth + strength)
    return np.stack([_rising(row, weight) for row, weight in zip(shrunk, worth + strength, strict=True)])


def _design_effects(cells: CellCounts, rates: Floats) -> Floats:
    """(B,) variance of the number of right pixels between images over that of independent pixels; at least 1."""
    spread = cells.rr - 2 * rates * cells.nr + rates**2 * cells.nn  # sum over images of (r - rate * n) ** 2
    several = cells.present > 1  # a single image says nothing of the spread between images
    spread = np.where(several, spread * _divide(cells.present, cells.present - 1, 0.0), 0.0).sum(axis=0)
    alone = np.where(several, cells.pixels * rates * (1 - rates), 0.0).sum(axis=0)
    whole = _divide(cells.nn.sum(axis=0), cells.pixels.sum(axis=0), 1.0)  # an image's pixels are all one
    effects = _divide(spread, alone, 0.0)
    bounded: Floats = np.maximum(np.where(effects > 0, effects, whole), 1.0)
    return bounded


def _pooled(worth: Floats, rates: Floats, middles: Floats) -> tuple[Floats, Floats]:
    """The mean of the classes in each bin, and the number of pixels that it counts as: both (B,).

    The less the classes differ beyond chance, the more pixels. The network's own number counts as one pixel.
    """
    total = worth.sum(axis=0)
    fixed = ((worth * rates).sum(axis=0) + middles) / (total + 1)
    variance = np.maximum(fixed * (1 - fixed), 1e-6)
    chance = np.maximum(np.count_nonzero(worth, axis=0) - 1, 0)
    excess = np.maximum((worth * (rates - fixed) ** 2).sum(axis=0) / variance - chance, 0.0)
    between = excess * variance * _divide(np.ones_like(total), total - _divide((worth**2).sum(axis=0), total, 0.0), 0.0)
    seen = 1 / (between + variance * _divide(np.ones_like(worth), worth, np.inf))  # (K, B) inverse variances; 0: unseen
    prior = 1 / (between + variance)
    centres = ((seen * rates).sum(axis=0) + prior * middles) / (seen.sum(axis=0) + prior)
    return centres, np.clip(_divide(variance, between, np.inf) - 1, 1.0, np.maximum(total, 1.0))


def _divide(part: Floats, whole: Floats, otherwise: float) -> Floats:
    shape = np.broadcast_shapes(part.shape, whole.shape)
    quotient: Floats = np.divide(part, whole, out=np.full(shape, otherwise), where=whole > 0)
    return quotient


def _rising(values: Floats, weights: Floats) -> Floats:
    """The closest values that never fall, in weighted squares: neighbours that fall take their common mean."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, heavy, length = blocks.pop()
            both = heavy + block[1]
            block = ((mean * heavy + block[0] * block[1]) / both, both, length + block[2])
        blocks.append(block)
    return np.concatenate([np.full(length, mean) for mean, _, length in blocks])


def calibration_error(cells: CellCounts, probabilities: Floats) -> float:
    """Expected calibration error of (K, B) stated probabilities over the held-out pixels: the mean gap of bins.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), section 2; bins are those of the codes.
    """
    stated = (cells.pixels * probabilities).sum(axis=0)
    return float(np.abs(cells.right.sum(axis=0) - stated).sum() / max(cells.pixels.sum(), 1))
