"""Label maps after decisions, against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.review.decisions import Decision, apply_decision, check_decision, layers_of, region, standing
from tests.labels.test_components import flood


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
