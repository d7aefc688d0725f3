"""One label set against another, against sets of pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autolabel.audit.comparison import Comparison, top_confusions

NAMES = ["road", "car", "train"]
maps = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255]))


def part(chosen, among):
    return np.count_nonzero(chosen & among) / np.count_nonzero(among) if among.any() else None


def mean_of_sets(label, reference, counted):
    values = []
    for c in range(3):
        union = counted & ((label == c) | (reference == c))
        if union.any():
            values.append(np.count_nonzero(counted & (label == c) & (reference == c)) / np.count_nonzero(union))
    return pytest.approx(sum(values) / len(values)) if values else None


@pytest.mark.slow
@given(st.lists(st.tuples(maps, maps), min_size=1, max_size=3))
def test_equals_sets_of_pixels(pairs):
    comparison = Comparison(NAMES)
    for label, reference in pairs:
        comparison.add(label, reference)
    result = comparison.result()
    label, reference = (np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1))
    valid, known, right = label < 3, reference < 3, label == reference
    everything = np.ones_like(valid)
    assert (result["images"], result["pixels"]) == (len(pairs), label.size)
    assert result["reference_pixels"] == known.sum()
    assert result["coverage"] == part(valid, everything)
    assert result["beyond"] == part(valid & ~known, everything)
    assert result["valid"] == part(valid, known)
    assert result["agree"] == part(valid & right, known)
    assert result["accuracy"] == part(right, known & valid)
    assert result["miou"] == mean_of_sets(label, reference, known)
    assert result["miou_valid"] == mean_of_sets(label, reference, known & valid)
    for c, name in enumerate(NAMES):
        assert result["recall"][name] == part(label == c, reference == c)
        assert result["precision"][name] == part(reference == c, (label == c) & known)
    json.dumps(result, allow_nan=False)


@pytest.mark.slow
@given(maps, maps)
def test_confusions_equal_a_sorted_loop(label, reference):
    comparison = Comparison(NAMES)
    comparison.add(label, reference)
    pairs = [(np.count_nonzero((reference == r) & (label == c)), r, c) for r in range(3) for c in range(3) if r != c]
    expected = [(NAMES[r], NAMES[c], n) for n, r, c in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])) if n]
    found = comparison.result()["confusions"]
    assert [(e["label"], e["prediction"], e["pixels"]) for e in found] == expected
    for entry in found:
        labelled = (reference == NAMES.index(entry["label"])) & (label < 3)
        assert entry["share"] == pytest.approx(entry["pixels"] / np.count_nonzero(labelled))


def test_top_confusions_takes_a_stored_matrix_and_a_limit():
    matrix = [[5, 3, 2, 9], [1, 7, 0, 0], [0, 4, 0, 0]]
    assert top_confusions(matrix, NAMES, limit=2) == [
        {"label": "train", "prediction": "car", "pixels": 4, "share": 1.0},
        {"label": "road", "prediction": "car", "pixels": 3, "share": 0.3},
    ]


def test_nothing_added_is_undefined():
    result = Comparison(NAMES).result()
    assert result["pixels"] == 0
    assert result["coverage"] is result["accuracy"] is result["miou"] is None
