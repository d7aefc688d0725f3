"""Maps computed by rows against the same arithmetic on whole tensors, in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.models.lazy_rows import LazyLeaf, LazyMap
from autolabel.models.resample import ResampleWeights, bilinear
from autolabel.models.resize import resize

LENGTHS = st.integers(1, 40)


def dense(axis: ResampleWeights) -> torch.Tensor:
    low, matrix = axis.block(0, len(axis))
    full = torch.zeros(len(axis), axis.source, dtype=torch.float64)
    full[:, low : low + matrix.shape[1]] = torch.from_numpy(matrix)
    return full


def torch_matrix(source: int, target: int) -> torch.Tensor:
    """The matrix of torch's resize, from unit vectors."""
    units = torch.eye(source, dtype=torch.float64)[:, None, :, None]
    return resize(units, (target, 1))[:, 0, :, 0].T


@settings(max_examples=60, deadline=None)
@given(LENGTHS, LENGTHS)
def test_weights_are_those_of_torch(source: int, target: int) -> None:
    axis = bilinear(source, target)
    assert axis.width <= 2
    torch.testing.assert_close(dense(axis), torch_matrix(source, target), rtol=0, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(st.lists(LENGTHS, min_size=3, max_size=4))
def test_composition_is_the_product_of_matrices(lengths: list[int]) -> None:
    first, *rest = (bilinear(a, b) for a, b in itertools.pairwise(lengths))
    composed, product = first, dense(first)
    for axis in rest:
        composed, product = axis.after(composed), dense(axis) @ product
    assert (composed.first >= 0).all()
    assert (composed.first + composed.width <= composed.source).all()
    torch.testing.assert_close(dense(composed), product, rtol=0, atol=1e-13)


@pytest.mark.parametrize("length", [1, 2, 5, 256])
def test_four_times_then_half_is_twice(length: int) -> None:
    """Composition gives exactly the same two weights, so the map of the largest scale need not exist."""
    folded, twice = bilinear(4 * length, 2 * length).after(bilinear(length, 4 * length)), bilinear(length, 2 * length)
    assert folded.width == twice.width
    assert (folded.first == twice.first).all()
    assert (folded.weights == twice.weights).all()


def test_other_ratios_keep_a_third_weight() -> None:
    assert bilinear(60, 40).after(bilinear(15, 60)).width == 3


def by_strips(rows: LazyMap, height: int) -> torch.Tensor:
    return torch.cat([rows.rows(top, min(top + height, rows.shape[2])) for top in range(0, rows.shape[2], height)], 2)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(LENGTHS, LENGTHS), min_size=3, max_size=3), st.integers(1, 9), st.integers(0, 9))
def test_strips_of_an_expression(sizes: list[tuple[int, int]], height: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, middle, last = sizes
    a, b, share = (
        torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
        for channels, size in ((3, first), (3, last), (1, middle))
    )

    def expression(a, b, share):
        product = resize(share * resize(a, middle), last)
        return (product + (1 - resize(share, last)) * b + 2.5) / 3

    expected = expression(a, b, share)
    rows = expression(LazyLeaf(a), LazyLeaf(b), LazyLeaf(share))
    assert rows.shape == expected.shape
    torch.testing.assert_close(by_strips(rows, height), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(by_strips(rows, height), expected, rtol=0, atol=1e-12)  # nothing held was overwritten


def test_wide_maps_are_computed_in_blocks_of_columns() -> None:
    x = torch.randn(1, 2, 9, 250, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for width in (250, 251, 1000, 97):
        torch.testing.assert_close(
            by_strips(LazyLeaf(x).resized((9, width)), 4), resize(x, (9, width)), rtol=0, atol=1e-12
        )
