"""IoU, precision, recall and the result table against sets of pixels."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autolabel.evaluation.confusion import confusion_matrix
from autolabel.evaluation.iou import evaluation_result, iou, mean_iou, pixel_accuracy, precision, recall

K = 4
maps = hnp.arrays(np.uint8, (6, 5), elements=st.sampled_from([0, 1, 2, 3, 255]))


def or_nan(part, whole):
    return part / whole if whole else math.nan


@pytest.mark.slow
@given(maps, maps)
def test_equals_sets_of_pixels(prediction, label):
    counted = label < K
    p, t = prediction[counted], label[counted]
    matrix = confusion_matrix(prediction, label, K)
    hits = [((p == c) & (t == c)).sum() for c in range(K)]
    expected = [or_nan(hits[c], ((p == c) | (t == c)).sum()) for c in range(K)]
    assert np.array_equal(iou(matrix), expected, equal_nan=True)
    assert np.array_equal(precision(matrix), [or_nan(hits[c], (p == c).sum()) for c in range(K)], equal_nan=True)
    assert np.array_equal(recall(matrix), [or_nan(hits[c], (t == c).sum()) for c in range(K)], equal_nan=True)
    defined = [v for v in expected if not math.isnan(v)]
    assert mean_iou(matrix) == pytest.approx(or_nan(sum(defined), len(defined)), nan_ok=True)
    assert pixel_accuracy(matrix) == pytest.approx(or_nan(sum(hits), t.size), nan_ok=True)


@pytest.mark.slow
@given(maps)
def test_a_perfect_prediction_scores_one(label):
    matrix = confusion_matrix(label, label, K)
    assert set(iou(matrix)[~np.isnan(iou(matrix))]) <= {1.0}


@pytest.mark.slow
@given(maps, maps)
def test_predicting_ignore_instead_of_a_right_class_never_helps(prediction, label):
    matrix = confusion_matrix(prediction, label, K)
    dropped = confusion_matrix(np.where(prediction == label, 255, prediction).astype(np.uint8), label, K)
    assert np.nansum(iou(dropped)) <= np.nansum(iou(matrix))


def test_a_square_matrix_has_no_ignore_column():
    assert iou(np.array([[3, 1], [0, 4]])).tolist() == [3 / 4, 4 / 5]
    assert mean_iou(np.array([[3, 1], [0, 4]])) == pytest.approx(0.775)


def test_result_is_json_with_none_for_the_undefined():
    matrix = confusion_matrix(np.array([0, 0, 255]), np.array([0, 1, 1]), 3)
    result = evaluation_result(matrix, ["road", "car", "sky"])
    assert json.loads(json.dumps(result, allow_nan=False)) == {
        "miou": 0.25,
        "iou": {"road": 0.5, "car": 0.0, "sky": None},
        "accuracy": pytest.approx(1 / 3),
        "matrix": [[1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]],
    }


def test_nothing_labelled_is_undefined_everywhere():
    result = evaluation_result(np.zeros((2, 3), np.int64), ["a", "b"])
    assert result["miou"] is None
    assert result["accuracy"] is None
    assert set(result["iou"].values()) == {None}


def test_refuses_a_wrong_number_of_names():
    with pytest.raises(AssertionError, match="1 names for 2 classes"):
        evaluation_result(np.zeros((2, 3), np.int64), ["a"])
