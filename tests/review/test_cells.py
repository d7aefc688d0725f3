"""Cells, ranking and their file, against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.audit.cells import CellIndex, cell_index, image_cells
from autolabel.audit.queue import MOST_RARE, rank, rank_by_table, rarity
from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.labels.threshold import apply_threshold

BOOK = Codebook(4, (0.3, 0.5, 0.9))


def cut(rng: np.random.Generator, policy: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    codes = rng.integers(0, BOOK.num_codes, (9, 7)).astype(BOOK.dtype)
    codes[0, :3] = BOOK.invalid
    coarse = rng.choice([0, 1, 2, 3, 255, 255], (9, 7)).astype(np.uint8)
    return codes, apply_threshold(codes, BOOK.lut(0.5), coarse=coarse, policy=policy).labels, coarse


@pytest.mark.parametrize("policy", ["veto", "fill", "off"])
def test_image_cells(policy: str) -> None:
    codes, labels, coarse = cut(np.random.default_rng(1), policy)
    known = None if policy == "off" else coarse
    found = image_cells(BOOK, codes, labels, known)
    labelled, ignored = np.zeros((4, BOOK.bins + 1), int), np.zeros((4, BOOK.bins), int)
    for code, label, drawn in zip(
        codes.ravel().tolist(), labels.ravel().tolist(), coarse.ravel().tolist(), strict=True
    ):
        k, b = divmod(code, BOOK.bins)
        if label != 255:
            by_person = policy != "off" and drawn == label
            labelled[label, BOOK.bins if by_person else b] += 1
        elif code < BOOK.num_codes:
            ignored[k, b] += 1
    np.testing.assert_array_equal(found.labelled, labelled)
    np.testing.assert_array_equal(found.ignored, ignored)
    stated = (coarse != 255) & (codes < BOOK.num_codes) if policy != "off" else np.zeros(codes.shape, bool)
    assert found.drawn == stated.sum()
    assert found.contradicted == (stated & (coarse != codes // BOOK.bins)).sum()


def test_the_index_and_its_ranking() -> None:
    rng = np.random.default_rng(2)
    images = [(name, image_cells(BOOK, *cut(rng, "veto"))) for name in ("a", "b\tc", "ü")]
    index = cell_index(images, 4, BOOK.bins)
    again = CellIndex.from_bytes(index.to_bytes(), "file")
    assert again.images == ("a", "b\tc", "ü")
    np.testing.assert_array_equal(again.totals(), sum(cells.labelled for _, cells in images))
    right = rng.uniform(0.2, 1, (4, BOOK.bins))
    ranked, weights = rank(again, right), rarity(again.totals().sum(axis=1))
    for n, (_, cells) in enumerate(images):
        wrong = cells.labelled[:, :-1] * (1 - right)
        assert ranked.wrong[n] == pytest.approx(wrong.sum())
        factor = 1 + cells.contradicted / cells.drawn
        assert ranked.scores[n] == pytest.approx((wrong * weights[:, None]).sum() * factor)
    assert ranked.scores[ranked.order].tolist() == sorted(ranked.scores, reverse=True)
    rows, classes, bins, pixels = again.ignored()
    table = np.zeros((3, 4, BOOK.bins), int)
    table[rows, classes, bins] = pixels
    np.testing.assert_array_equal(table, [cells.ignored for _, cells in images])
    with pytest.raises(DataError, match="is damaged"):
        CellIndex.from_bytes(index.to_bytes()[:-9], "file")


def test_the_first_ranking_has_the_same_expectation() -> None:
    fractions = np.array([[0.5, 0.25, 0], [0.1, 0.0, 0.2], [0, 0, 0]])
    ranked = rank_by_table(np.array([100.0, 200, 50]), fractions, np.array([0.9, 0.5, 1.0]), [0, 0.5, 0])
    assert ranked.wrong == pytest.approx([100 * 0.75 * 0.1, 200 * 0.3 * 0.5, 0])
    assert ranked.order.tolist()[-1] == 2


def test_rarity_is_bounded() -> None:
    weights = rarity(np.array([10**9, 10**6, 10**6, 1, 0]))
    assert weights[1] == weights[2] == 1
    assert weights[0] < 1 < MOST_RARE == weights[3] == weights[4]
