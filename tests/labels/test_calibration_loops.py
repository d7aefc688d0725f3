"""Calibration against the published formulas, written as loops over classes, bins and images."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.labels.calibration import CellCounts, bin_middles, calibrate, calibration_error, count_predicted
from autolabel.labels.codebook import Codebook

BOOK = Codebook(3, (0.3, 0.5, 0.9))
K, B = BOOK.num_classes, BOOK.bins
Images = list[tuple[np.ndarray, np.ndarray]]  # pixels n and right ones r, both (K, B), of each image


def drawn(seed: int, images: int, empty: float) -> Images:
    """Counts of images of which a fraction of the cells is empty."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        pixels = rng.integers(1, 60, (K, B)) * (rng.random((K, B)) >= empty)
        found.append((pixels, rng.binomial(pixels, rng.random((K, B)))))
    return found


def counted(images: Images) -> CellCounts:
    """Through maps of pixels, as the stages count."""
    cells = CellCounts(BOOK)
    for pixels, right in images:
        maps: list[tuple[int, int, int]] = []
        for c, b in np.ndindex(K, B):
            maps += [(c, b, c)] * int(right[c, b]) + [(c, b, (c + 1) % K)] * int(pixels[c, b] - right[c, b])
        classes, bins, label = np.array([*maps, (255, 0, 0), (0, 0, 255)], np.uint8).T[:, None]
        cells.add(classes, bins, label)
    return cells


def design_effect(images: Images, b: int) -> float:
    """Variance of the right pixels between images over that of independent pixels (Kish, section 5.4)."""
    between = alone = 0.0
    for c in range(K):
        present = [(float(n[c, b]), float(r[c, b])) for n, r in images if n[c, b]]
        if len(present) > 1:
            total = sum(n for n, _ in present)
            rate = sum(r for _, r in present) / total
            between += sum((r - rate * n) ** 2 for n, r in present) * len(present) / (len(present) - 1)
            alone += total * rate * (1 - rate)
    if alone > 0 and between > 0:
        return max(between / alone, 1.0)
    sizes = [float(n[c, b]) for n, _ in images for c in range(K)]
    return max(sum(n * n for n in sizes) / sum(sizes), 1.0) if sum(sizes) else 1.0


def expected(images: Images) -> np.ndarray:
    """(K, B) estimates before they are made to rise, and their weights."""
    middles = [0.15, 0.4, 0.7, 0.95]
    result, weights = np.zeros((K, B)), np.zeros((K, B))
    for b in range(B):
        effect = design_effect(images, b)
        pixels = [float(sum(n[c, b] for n, _ in images)) for c in range(K)]
        rates = [sum(r[c, b] for _, r in images) / n if n else 0.0 for c, n in enumerate(pixels)]
        worth = [n / effect for n in pixels]
        total = sum(worth)
        fixed = (sum(w * p for w, p in zip(worth, rates, strict=True)) + middles[b]) / (total + 1)
        variance = max(fixed * (1 - fixed), 1e-6)
        chance = max(sum(w > 0 for w in worth) - 1, 0)
        spread = sum(w * (p - fixed) ** 2 for w, p in zip(worth, rates, strict=True)) / variance
        rest = total - (sum(w * w for w in worth) / total if total else 0.0)
        between = max(spread - chance, 0.0) * variance / rest if rest > 0 else 0.0
        seen = [1 / (between + variance / w) if w else 0.0 for w in worth]
        prior = 1 / (between + variance)
        centre = (sum(s * p for s, p in zip(seen, rates, strict=True)) + prior * middles[b]) / (sum(seen) + prior)
        strength = min(max(variance / between - 1 if between else np.inf, 1.0), max(total, 1.0))
        for c in range(K):
            result[c, b] = (worth[c] * rates[c] + strength * centre) / (worth[c] + strength)
            weights[c, b] = worth[c] + strength
    return np.stack([risen(row, weight) for row, weight in zip(result, weights, strict=True)])


def risen(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The minimax formula of isotonic regression."""

    def mean(i: int, j: int) -> float:
        return float(np.average(values[i : j + 1], weights=weights[i : j + 1]))

    size = len(values)
    return np.array([max(min(mean(i, j) for j in range(k, size)) for i in range(k + 1)) for k in range(size)])


@pytest.mark.parametrize(
    ("seed", "images", "empty"), [(0, 5, 0.0), (1, 5, 0.5), (2, 1, 0.0), (3, 2, 0.7), (4, 1, 0.9), (5, 9, 0.3)]
)
def test_estimates(seed: int, images: int, empty: float) -> None:
    found = drawn(seed, images, empty)
    cells = counted(found)
    np.testing.assert_allclose(bin_middles(BOOK), [0.15, 0.4, 0.7, 0.95])
    np.testing.assert_array_equal(cells.pixels, sum(n for n, _ in found))
    np.testing.assert_array_equal(cells.right, sum(r for _, r in found))
    np.testing.assert_array_equal(cells.present, sum((n > 0).astype(int) for n, _ in found))
    np.testing.assert_allclose(calibrate(cells), expected(found), rtol=1e-12)


def test_halves_of_the_images_count_as_all_of_them() -> None:
    found = drawn(6, 6, 0.3)
    halves = counted(found[:2]).merged(counted(found[2:]))
    assert halves.images == 6
    np.testing.assert_allclose(calibrate(halves), expected(found), rtol=1e-12)


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    cells = counted(drawn(7, 4, 0.2))
    stated = np.random.default_rng(8).random((K, B))
    gaps = sum(abs(sum(cells.right[c, b] - cells.pixels[c, b] * stated[c, b] for c in range(K))) for b in range(B))
    assert calibration_error(cells, stated) == pytest.approx(gaps / cells.pixels.sum())
    assert calibration_error(CellCounts(BOOK), stated) == 0.0


def test_predicted_pixels_count_without_a_label() -> None:
    classes = np.array([[0, 2, 2, 255]], np.uint8)
    counts = count_predicted(BOOK, classes, np.array([[3, 1, 1, 2]]))
    assert {(c, b): int(counts[c, b]) for c, b in np.argwhere(counts).tolist()} == {(0, 3): 1, (2, 1): 2}
