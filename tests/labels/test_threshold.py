"""The threshold, its outcomes and the worker function against a loop over pixels."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import ConfigError, DataError, LabelError
from autolabel.labels import png
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import write_shard
from autolabel.labels.threshold import (
    PIXEL_OUTCOMES,
    POLICIES,
    apply_threshold,
    count_pixels,
    pixel_outcomes,
    threshold_shard,
)

BOOKS = [Codebook(3), Codebook(19), Codebook(40)]


def loop(codes, book, threshold, coarse, policy):
    """Labels and outcomes by the definition of the policies, pixel by pixel."""
    labels, why = np.empty(codes.shape, np.uint8), dict.fromkeys(PIXEL_OUTCOMES, 0)
    for at in np.ndindex(codes.shape):
        valid = int(codes[at]) < book.num_codes
        train_id, bin_ = divmod(int(codes[at]), book.bins)
        sure = valid and (threshold == 0 or bin_ > book.edges.index(threshold))
        drawn = 255 if coarse is None else int(coarse[at])
        if policy == "fill" and drawn != 255:
            labels[at], reason = drawn, "filled"
        elif not valid:
            labels[at], reason = 255, "no_prediction"
        elif not sure:
            labels[at], reason = 255, "low_confidence"
        elif policy == "veto" and drawn not in (255, train_id):
            labels[at], reason = 255, "veto"
        else:
            labels[at], reason = train_id, "kept"
        why[reason] += 1
    return labels, why


@st.composite
def cases(draw: st.DrawFn):
    book = draw(st.sampled_from(BOOKS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    codes = rng.integers(0, book.num_codes, shape).astype(book.dtype)
    codes[rng.random(shape) < 0.2] = book.invalid
    coarse = np.where(rng.random(shape) < 0.5, 255, codes // book.bins).astype(np.uint8)  # agrees where labelled
    wrong = rng.random(shape) < 0.3
    coarse[wrong] = rng.integers(0, book.num_classes, shape)[wrong]
    return book, draw(st.sampled_from((0.0, *book.edges))), codes, draw(st.sampled_from([None, coarse]))


@settings(max_examples=60)
@given(cases(), st.sampled_from(sorted(POLICIES)))
def test_labels_and_reasons(case, policy: str) -> None:
    book, threshold, codes, coarse = case
    table = book.lut(threshold)
    labels, why = loop(codes, book, threshold, coarse, policy)
    got = apply_threshold(codes, table, coarse=coarse, policy=policy)
    assert got.labels.dtype == np.uint8
    np.testing.assert_array_equal(got.labels, labels)
    assert pixel_outcomes(codes, got, book.num_codes) == why
    assert sum(why.values()) == codes.size


def test_a_higher_threshold_only_removes() -> None:
    book = Codebook(19)
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    previous = apply_threshold(codes, book.lut(0)).labels
    assert (previous != 255).sum() == 247
    for threshold in book.edges:
        labels = apply_threshold(codes, book.lut(threshold)).labels
        assert ((labels == previous) | (labels == 255)).all()
        assert (previous != 255).sum() - (labels != 255).sum() == 19  # one bin per class
        previous = labels


def test_refusals() -> None:
    book = Codebook(3)
    codes = np.zeros((2, 3), np.uint8)
    with pytest.raises(ConfigError, match="take one of off, veto, fill"):
        apply_threshold(codes, book.lut(0), policy="vote")
    with pytest.raises(LabelError, match=r"\(3, 2\)"):
        apply_threshold(codes, book.lut(0), coarse=np.zeros((3, 2), np.uint8), policy="veto")


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("book", BOOKS, ids=["3", "19", "40"])
def test_a_shard_is_cut_image_by_image(book: Codebook, policy: str) -> None:
    rng = np.random.default_rng(5)
    items = [
        (name, rng.integers(0, book.num_codes + 2, shape).astype(book.dtype))
        for name, shape in (("b", (6, 4)), ("a", (3, 9)), ("c", (1, 1)))
    ]
    coarse = {"a": rng.integers(0, book.num_classes, (3, 9)).astype(np.uint8), "c": None}
    job = pickle.loads(pickle.dumps((threshold_shard, write_shard(items, book), book.lut(0.5), coarse, policy)))
    results = job[0](*job[1:])
    assert [result.id for result in results] == ["b", "a", "c"]
    for result, (name, codes) in zip(results, items, strict=True):
        labels, why = loop(codes, book, 0.5, coarse.get(name), policy)
        np.testing.assert_array_equal(png.decode(result.png), labels)
        assert result.reasons == why
        assert result.counts == tuple((labels == i).sum() for i in [*range(book.num_classes), 255])
        assert pickle.loads(pickle.dumps(result)) == result


class CountedTable(np.ndarray):
    """A look-up table that counts how often it is applied."""

    def __getitem__(self, key):
        self.uses.append(1)
        return np.asarray(self)[key]


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_table_is_applied_once_per_image(policy: str) -> None:
    book = Codebook(3)
    items = [(name, np.zeros((2, 3), book.dtype)) for name in "ab"]
    table = book.lut(0.5).view(CountedTable)
    table.uses = []
    coarse = dict.fromkeys("ab", np.full((2, 3), 1, np.uint8))
    threshold_shard(write_shard(items, book), table, coarse, policy, confidence=True)
    assert len(table.uses) == len(items)


def test_a_damaged_shard_is_refused() -> None:
    with pytest.raises(DataError):
        threshold_shard(b"\x89HDF\r\n\x1a\n" + b"\0" * 100, Codebook(3).lut(0), {})


def test_counts_end_with_ignore() -> None:
    assert count_pixels(np.array([[0, 2, 255], [2, 2, 255]], np.uint8), 3) == (1, 0, 3, 2)


@pytest.mark.slow
def test_labels_need_no_torch() -> None:
    code = "import sys, autolabel.labels.threshold, autolabel.labels.visualize; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
