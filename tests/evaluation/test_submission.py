"""Prediction files, read back as the official evaluation script reads them."""

from __future__ import annotations

import fnmatch
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from autolabel.classes import CLASS_SETS
from autolabel.evaluation.submission import encode_submission, submission_name

CITYSCAPES = CLASS_SETS["cityscapes"]
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


@pytest.mark.slow
@given(hnp.arrays(np.uint8, shapes, elements=st.sampled_from([*range(19), 255])))
def test_holds_ids_in_one_channel_at_full_size(train_ids):
    with Image.open(io.BytesIO(encode_submission(train_ids, CITYSCAPES))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", train_ids.shape[::-1])
        read = np.array(image)
    expected = [[CITYSCAPES.ids[t] if t < 19 else 0 for t in row] for row in train_ids.tolist()]
    assert read.tolist() == expected


def test_road_is_seven_and_bicycle_is_thirty_three():
    data = encode_submission(np.array([[0, 18]], np.uint8), CITYSCAPES)
    assert np.array(Image.open(io.BytesIO(data))).tolist() == [[7, 33]]


@pytest.mark.parametrize("image_id", ["frankfurt_000000_000294", "bonn_000046_000019"])
def test_the_official_script_finds_the_name(image_id):
    city, sequence, frame = image_id.split("_")
    assert fnmatch.fnmatch(submission_name(image_id), f"{city}_{sequence}_{frame}*.png")


def test_a_strange_id_cannot_leave_the_folder():
    assert "/" not in submission_name("../../x")


def test_refuses_maps_that_would_wrap():
    with pytest.raises(AssertionError, match="int64"):
        encode_submission(np.array([[300]]), CITYSCAPES)
