"""Threshold evidence against a loop over pixels and probabilities."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autolabel.audit.threshold_curve import ThresholdCurve

NAMES = ["road", "car", "train"]
EDGES = (0.5, 0.7, 0.9)

shape = (3, 4)
pixels = st.tuples(
    hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])),
    hnp.arrays(np.float64, shape, elements=st.sampled_from([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])),
    hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])),
)


def part(chosen, among):
    return np.count_nonzero(chosen & among) / np.count_nonzero(among) if among.any() else None


@pytest.mark.slow
@given(st.lists(pixels, min_size=1, max_size=3))
def test_equals_thresholding_the_probabilities(images):
    evidence = ThresholdCurve(NAMES, EDGES)
    for winner, p, label in images:
        bins = (p[..., None] > np.array(EDGES)).sum(-1).astype(np.uint16)
        evidence.add(winner, bins, label=label)
    result = evidence.result()
    winner, p, label = (np.concatenate([i[k].ravel() for i in images]) for k in range(3))
    known = label < 3
    assert (result["images"], result["pixels"]) == (len(images), known.sum())
    assert [row["threshold"] for row in result["thresholds"]] == [0.0, *EDGES]
    for row in result["thresholds"]:
        kept = (p > row["threshold"]) & (winner < 3)
        assert row["pixels"] == np.count_nonzero(kept & known)
        assert row["kept"] == part(kept, known)
        assert row["precision"] == part(winner == label, kept & known)
        for c, name in enumerate(NAMES):
            own = known & (winner == c)
            assert row["classes"][name] == {"kept": part(kept, own), "precision": part(label == c, own & kept)}
    json.dumps(result, allow_nan=False)


@pytest.mark.slow
@given(st.lists(pixels, min_size=1, max_size=3))
def test_a_higher_threshold_keeps_no_more(images):
    evidence = ThresholdCurve(NAMES, EDGES)
    for winner, p, label in images:
        evidence.add(winner, (p[..., None] > np.array(EDGES)).sum(-1), label=label)
    counts = [row["pixels"] for row in evidence.result()["thresholds"]]
    assert counts == sorted(counts, reverse=True)


def test_refuses_edges_out_of_order():
    with pytest.raises(AssertionError, match="ascend"):
        ThresholdCurve(NAMES, (0.9, 0.5))


@pytest.mark.slow
@given(st.lists(st.tuples(pixels, hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255]))), min_size=1))
def test_second_classes_where_the_first_is_wrong(images):
    evidence, kept, wrong, right, known = ThresholdCurve(NAMES, EDGES), 0, 0, 0, 0
    for (winner, _, label), second in images:
        evidence.add(winner, np.zeros(shape, np.uint16), label=label, second=second)
        for first, true, other in zip(winner.flat, label.flat, second.flat, strict=True):
            known += true < 3
            if true < 3 and first < 3 and other < 3:
                kept, wrong, right = kept + 1, wrong + (first != true), right + (first != true and other == true)
    result = evidence.result()["second"]
    assert result["kept"] == (kept / known if known else None)
    assert (result["wrong"], result["right"]) == (wrong, right / wrong if wrong else None)


def test_nothing_is_said_of_second_classes_that_were_not_kept():
    assert "second" not in ThresholdCurve(NAMES, EDGES).result()
