"""A label set before and after, against sets of pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autolabel.audit.comparison import LabelDiff

NAMES = ["road", "car", "train"]
maps = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255]))


def part(chosen: np.ndarray, among: np.ndarray) -> object:
    return pytest.approx(np.count_nonzero(chosen & among) / np.count_nonzero(among)) if among.any() else None


@pytest.mark.slow
@given(st.lists(st.tuples(maps, maps), min_size=1, max_size=3))
def test_equals_sets_of_pixels(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    change = LabelDiff(NAMES)
    for before, after in pairs:
        change.add(before, after)
    result = change.result()
    before, after = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    had, has = before < 3, after < 3
    everything = np.ones_like(had)
    assert (result["images"], result["pixels"]) == (len(pairs), before.size)
    assert result["coverage_before"] == part(had, everything)
    assert result["coverage_after"] == part(has, everything)
    assert result["same"] == part(before == after, everything)
    assert result["gained"] == part(has & ~had, everything)
    assert result["lost"] == part(had & ~has, everything)
    assert result["switched"] == part(had & has & (before != after), everything)
    assert result["agree"] == part(before == after, had & has)
    for c, name in enumerate(NAMES):
        assert result["before"][name] == part(before == c, everything)
        assert result["after"][name] == part(after == c, everything)
        assert result["iou"][name] == part((before == c) & (after == c), (before == c) | (after == c))
    json.dumps(result, allow_nan=False)


def test_nothing_compared_is_not_defined() -> None:
    result = LabelDiff(NAMES).result()
    assert (result["pixels"], result["same"], result["iou"]["car"]) == (0, None, None)
