"""Connected regions against a flood fill, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autolabel.labels.components import components, region_at, small_regions

MAPS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


def flood(labels: np.ndarray, x: int, y: int) -> np.ndarray:
    mask, todo = np.zeros(labels.shape, bool), [(y, x)]
    while todo:
        r, c = todo.pop()
        if 0 <= r < labels.shape[0] and 0 <= c < labels.shape[1] and not mask[r, c] and labels[r, c] == labels[y, x]:
            mask[r, c] = True
            todo += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return mask


@given(MAPS, st.data())
def test_components(labels: np.ndarray, data: st.DataObject) -> None:
    y, x = (data.draw(st.integers(0, side - 1)) for side in labels.shape)
    region = flood(labels, x, y)
    np.testing.assert_array_equal(region_at(labels, x, y), region)
    ids = components(labels)
    assert list(dict.fromkeys(ids.ravel().tolist())) == list(range(ids.max() + 1)), "in the order of their first pixels"
    least = np.zeros(256, np.int64)
    least[:3] = data.draw(st.tuples(*[st.integers(0, 9)] * 3))
    assert small_regions(labels, least)[y, x] == (np.count_nonzero(region) < least[labels[y, x]])


def test_a_long_winding_region_is_one() -> None:
    labels = np.ones((61, 61), np.uint8)
    labels[::2] = 0
    labels[1::4, -1] = labels[3::4, 0] = 0
    assert np.count_nonzero(region_at(labels, 0, 0)) == np.count_nonzero(labels == 0)


@pytest.mark.parametrize("least", [0, 1])
def test_where_no_value_asks_for_more_than_a_pixel_nothing_is_small(least: int) -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = small_regions(labels, np.full(256, least))
    assert (found.dtype, found.any(), found.shape) == (bool, False, (3, 4))
    other = np.zeros(256, np.int64)
    other[77] = 100  # a value that the map does not hold
    assert small_regions(labels, other).dtype == bool
