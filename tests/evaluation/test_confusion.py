"""The confusion matrix against a loop that says what it means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autolabel.evaluation.confusion import confusion_matrix


def loop(prediction, label, k):
    matrix = np.zeros((k, k + 1), np.int64)
    for p, t in zip(prediction.ravel().tolist(), label.ravel().tolist(), strict=True):
        if 0 <= t < k:
            matrix[t, p if 0 <= p < k else k] += 1
    return matrix


def maps(dtype, values):
    shape = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=7)
    return shape.flatmap(lambda s: st.tuples(*[hnp.arrays(dtype, s, elements=st.sampled_from(values))] * 2))


@pytest.mark.slow
@given(maps(np.uint8, [0, 1, 2, 3, 4, 254, 255]), st.integers(1, 5))
def test_equals_the_loop_on_bytes(pair, k):
    assert np.array_equal(confusion_matrix(*pair, k), loop(*pair, k))


@pytest.mark.slow
@given(maps(np.int64, [-1, 0, 1, 2, 3, 255, 70000]), st.integers(1, 5))
def test_equals_the_loop_on_integers(pair, k):
    assert np.array_equal(confusion_matrix(*pair, k), loop(*pair, k))


@pytest.mark.slow
@given(maps(np.uint8, [0, 1, 2, 255]))
def test_counts_every_labelled_pixel_once(pair):
    prediction, label = pair
    matrix = confusion_matrix(prediction, label, 3)
    assert matrix.shape == (3, 4)
    assert matrix.dtype == np.int64
    assert matrix.sum() == (label < 3).sum()
    assert matrix.sum(axis=1).tolist() == [(label == c).sum() for c in range(3)]


def test_many_classes_do_not_overflow():
    label = np.arange(254, dtype=np.uint8)
    assert np.array_equal(np.diagonal(confusion_matrix(label, label, 254)), np.ones(254))


def test_refuses_maps_of_different_shape():
    with pytest.raises(AssertionError, match=r"\(2,\).*\(3,\)"):
        confusion_matrix(np.zeros(2, np.uint8), np.zeros(3, np.uint8), 2)
