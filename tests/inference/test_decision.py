"""The decision against loops in float64, and at edges and ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.inference.decision import encode, encode_probabilities
from autolabel.labels.codebook import Codebook

MARGIN = 1e-5  # relative: nearer to an edge or a tie, float32 may round to the other side


def loop(logits: np.ndarray, book: Codebook) -> tuple[np.ndarray, np.ndarray]:
    """Codes of (K, H, W) logits by softmax in float64, and which pixels are too near an edge or a tie to compare."""
    codes, close = np.empty(logits.shape[1:], int), np.zeros(logits.shape[1:], bool)
    for at in np.ndindex(codes.shape):
        pixel = [float(logits[(k, *at)]) for k in range(len(logits))]
        winner = pixel.index(max(pixel))
        p = 1 / sum(math.exp(value - pixel[winner]) for value in pixel)
        codes[at] = winner * book.bins + sum(p > edge for edge in book.edges)
        others = sorted((-v, k) for k, v in enumerate(pixel) if k != winner)
        second = -others[0][0] if others else -math.inf
        close[at] = min(abs(p / edge - 1) for edge in book.edges) < MARGIN or pixel[winner] - second < MARGIN
        if book.second_below:
            close[at] |= len(others) > 1 and others[1][0] - others[0][0] < MARGIN
            codes[at] = codes[at] * (len(pixel) + 1) + (len(pixel) if p > book.second_below else others[0][1])
    return codes, close


BOOKS = [
    Codebook(1),
    Codebook(2),
    Codebook(19),
    Codebook(40),
    Codebook(4, [0.123, 0.5]),
    Codebook(2, second_below=0.99),
    Codebook(19, second_below=0.5),
]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(BOOKS),
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 9)),
    st.sampled_from([0.1, 1.0, 5.0, 60.0]),
)
def test_codes_of_a_loop(book: Codebook, seed: int, shape: tuple[int, int, int], spread: float) -> None:
    batch, height, width = shape
    logits = np.random.default_rng(seed).normal(0, spread, (batch, book.num_classes, height, width)).astype(np.float32)
    codes = encode(torch.from_numpy(logits), book).numpy()
    assert codes.dtype == book.dtype
    for image, got in zip(logits, codes, strict=True):
        expected, close = loop(image, book)
        np.testing.assert_array_equal(got[~close], expected[~close])


def test_bins_step_at_the_edges_and_never_fall() -> None:
    """Two classes, p of the first from 0.5 to 1: the bin is the number of edges below p."""
    book = Codebook(2)
    p = np.linspace(0.5001, 0.9999, 4000)
    p = np.sort(np.concatenate([p, *(np.array([-1e-5, 1e-5]) + edge for edge in book.edges if edge > 0.5)]))
    logits = torch.tensor(np.stack([np.log(p), np.log1p(-p)]), dtype=torch.float32)[None, :, None]
    bins = encode(logits, book)[0, 0].tolist()
    assert bins == [sum(value > edge for edge in book.edges) for value in p]
    assert bins == sorted(bins)


def test_one_half_does_not_exceed_one_half() -> None:
    book = Codebook(2)
    logits = torch.tensor([[3.0, 3.0 + 1e-6], [3.0, 3.0]]).view(1, 2, 1, 2)
    below_half = book.edges.index(0.5)
    assert encode(logits, book).flatten().tolist() == [below_half, below_half + 1]


def test_ties_go_to_the_lower_class() -> None:
    book = Codebook(5)
    logits = torch.tensor([[0, 0, 0, 0, 0], [1, 7, 3, 7, 7], [0, 0, 0, 0, 9], [-5, -6, -5, -6, -5]]).float()
    codes = encode(logits.T.reshape(1, 5, 1, 4), book)
    assert (codes.flatten() // book.bins).tolist() == [0, 1, 4, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("book", [Codebook(19), Codebook(40)], ids=["one byte", "two bytes"])
def test_a_logit_that_is_not_finite_spoils_its_pixel_only(book: Codebook, value: float) -> None:
    logits = torch.randn(1, book.num_classes, 4, 6, generator=torch.Generator().manual_seed(1))
    clean = encode(logits, book).numpy().copy()
    for train_id in (0, 7, book.num_classes - 1):
        spoilt = logits.clone()
        spoilt[0, train_id, 2, 3] = value
        codes = encode(spoilt, book).numpy()
        assert codes[0, 2, 3] == book.invalid
        codes[0, 2, 3] = clean[0, 2, 3]
        np.testing.assert_array_equal(codes, clean)
    assert (encode(torch.full_like(logits, value), book).numpy() == book.invalid).all()


def test_far_apart_logits_are_sure() -> None:
    book = Codebook(2)
    logits = torch.tensor([[1e30, -1e30], [-1e38, 1e38]]).T.reshape(1, 2, 1, 2)
    assert encode(logits, book).flatten().tolist() == [book.bins - 1, 2 * book.bins - 1]


def test_strips_batches_and_layouts_give_the_same_bits() -> None:
    book = Codebook(19)
    logits = 3 * torch.randn(2, 19, 300, 500, generator=torch.Generator().manual_seed(2))  # three strips
    codes = encode(logits, book)
    assert torch.equal(codes[1:], encode(logits[1:], book))
    assert torch.equal(codes[:, 131:, 77:], encode(logits[:, :, 131:, 77:], book))
    assert torch.equal(codes, encode(logits.contiguous(memory_format=torch.channels_last), book))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_decided_in_float32(dtype: torch.dtype) -> None:
    logits = torch.randn(1, 19, 8, 8, generator=torch.Generator().manual_seed(3)).to(dtype)
    assert torch.equal(encode(logits, Codebook(19)), encode(logits.float(), Codebook(19)))


def test_ties_for_the_second_place_go_to_the_lower_class() -> None:
    book = Codebook(4, second_below=0.95)
    logits = torch.tensor([[2.0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 3, 1], [30, 0, 0, 0]])
    codes = encode(logits.T.reshape(1, 4, 1, 5), book).numpy().flatten()
    assert book.classes_and_bins(codes)[0].tolist() == [0, 0, 1, 2, 0]
    assert book.second_classes(codes).tolist() == [1, 1, 2, 3, 255]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_second_classes_of_non_finite_logits(value: float) -> None:
    book = Codebook(5, second_below=0.95)
    logits = torch.zeros(1, 5, 1, 3)
    logits[0, 2, 0, 1] = value
    assert (encode(logits, book).flatten() == book.invalid).tolist() == [False, True, False]
    assert (encode(torch.full_like(logits, value), book).numpy() == book.invalid).all()


def test_no_class_is_never_the_second_class() -> None:
    p = torch.tensor([0.5, 0.1, 0.4]).view(1, 3, 1, 1)
    book = Codebook(2, second_below=0.95)
    codes = encode_probabilities(p, book).numpy()
    assert (book.classes_and_bins(codes)[0].item(), book.second_classes(codes).item()) == (0, 1)


@pytest.mark.parametrize("book", [Codebook(19), Codebook(19, second_below=0.9)], ids=["first", "second"])
def test_probabilities_agree_with_logits(book: Codebook) -> None:
    logits = 3 * torch.randn(2, 19, 40, 50, generator=torch.Generator().manual_seed(4))
    from_logits, from_p = encode(logits, book), encode_probabilities(logits.double().softmax(1), book)
    close = np.stack([loop(image, book)[1] for image in logits.numpy()])
    assert close.mean() < 0.01
    np.testing.assert_array_equal(from_p.numpy()[~close], from_logits.numpy()[~close])


def test_probabilities_at_an_edge_do_not_exceed_it() -> None:
    book = Codebook(2)
    p = torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.25, 0.75], [1.0, 0.0]]).T.reshape(1, 2, 1, 4)
    edges = book.edges
    expected = [edges.index(0.5), edges.index(0.75), book.bins + edges.index(0.75), len(edges)]
    assert encode_probabilities(p, book).flatten().tolist() == expected


@pytest.mark.parametrize(
    "pixel", [[0.6, 0.6], [0.2, 0.2], [1.2, -0.2], [math.nan, 0.5], [math.inf, 0.0], [0.0, 0.0], [0.5, 0.502]]
)
def test_invalid_distributions_are_refused(pixel: list[float]) -> None:
    p = torch.full((1, 2, 3, 4), 0.5)
    p[0, :, 2, 1] = torch.tensor(pixel)
    with pytest.raises(DataError, match="sum to 1"):
        encode_probabilities(p, Codebook(2))


def test_rounding_of_a_teacher_is_tolerated() -> None:
    p = torch.tensor([0.7005, 0.3]).view(1, 2, 1, 1)
    assert encode_probabilities(p, Codebook(2)).item() == Codebook(2).edges.index(0.7) + 1
