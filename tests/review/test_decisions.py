"""Label maps after decisions, against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.labels.components import components, region_at, small_regions
from autolabel.review.decisions import Decision, apply_decision, check_decision, layers_of, region, standing

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
    assert sorted(np.unique(ids)) == list(range(ids.max() + 1))
    least = np.zeros(256, np.int64)
    least[:3] = data.draw(st.tuples(*[st.integers(0, 9)] * 3))
    assert small_regions(labels, least)[y, x] == (np.count_nonzero(region) < least[labels[y, x]])


def test_a_long_winding_region_is_one() -> None:
    labels = np.ones((61, 61), np.uint8)
    labels[::2] = 0
    labels[1::4, -1] = labels[3::4, 0] = 0
    assert np.count_nonzero(region_at(labels, 0, 0)) == np.count_nonzero(labels == 0)


@given(st.integers(0, 99))
def test_regions_and_decisions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    book = Codebook(3, (0.3, 0.5, 0.9), second_below=0.9)
    codes = rng.integers(0, book.num_codes, (7, 8)).repeat(2, 0).repeat(2, 1).astype(book.dtype)
    layers = layers_of(book, codes, book.lut(0.5)[codes])
    current = layers.labels
    for _ in range(6):
        y, x = (int(rng.integers(side)) for side in current.shape)
        shown = np.where(current == 255, 256 + layers.teacher.astype(int), current)
        mask = flood(shown, x, y)
        found = region(layers, current, x, y)
        np.testing.assert_array_equal(found.mask, mask)
        seconds = [v for v in layers.second[mask].tolist() if v not in (255, current[y, x])]
        assert found.second == (min(seconds, key=lambda v: (-seconds.count(v), v)) if seconds else 255)
        to = int(rng.choice([0, 1, 2, 255]))
        wanted = current.copy()
        wanted[mask] = to
        current = apply_decision(layers, current, Decision(op="region", image="a", x=x, y=y, to=to))
        np.testing.assert_array_equal(current, wanted)
    rejected = apply_decision(layers, current, Decision(op="class", image="a", to=1))
    np.testing.assert_array_equal(rejected, np.where(current == 1, 255, current))
    assert (apply_decision(layers, current, Decision(op="reject", image="a")) == 255).all()
    assert apply_decision(layers, current, Decision(op="accept", image="a")) is current


def test_undo_takes_back_the_last_that_stands() -> None:
    rows = [{"op": "accept", "image": name} for name in "abc"]
    undo = {"op": "undo", "author": "", "time": ""}
    assert [d.image for d in standing([undo, rows[0], rows[1], undo, undo, rows[2]], "journal")] == ["c"]
    with pytest.raises(DataError, match="no decision"):
        standing([{"op": "vote", "image": "a"}], "journal")


@pytest.mark.parametrize(
    "fields",
    [{"op": "region", "x": 4}, {"op": "region", "y": 3}, {"op": "region", "to": 3}, {"op": "class", "to": 255}],
)
def test_what_is_refused(fields: dict) -> None:
    with pytest.raises(DataError):
        check_decision(Decision(image="a", **fields), (3, 4), 3)
