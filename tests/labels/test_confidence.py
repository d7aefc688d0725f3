from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.labels import png
from autolabel.labels.codebook import Codebook
from autolabel.labels.png import CODECS
from autolabel.labels.shards import write_shard
from autolabel.labels.threshold import apply_threshold, confidence_table, mean_confidence, threshold_shard


@pytest.mark.slow
@given(
    st.integers(0, 10_000),
    st.sampled_from([Codebook(3), Codebook(19), Codebook(40), Codebook(19, second_below=0.9)]),
    st.sampled_from(["off", "veto", "fill"]),
)
def test_against_a_loop_over_pixels(seed: int, book: Codebook, policy: str) -> None:
    rng, num_classes = np.random.default_rng(seed), book.num_classes
    codes = rng.integers(0, book.num_codes, (4, 5)).astype(book.dtype)
    codes[rng.random(codes.shape) < 0.2] = book.invalid
    coarse = np.where(rng.random(codes.shape) < 0.5, 255, rng.integers(0, num_classes, codes.shape)).astype(np.uint8)
    data = write_shard([("x", codes)], book)
    (found,) = threshold_shard(data, book.lut(0.5), {"x": coarse}, policy, confidence=True)
    assert found.confidence is not None
    confidence = png.decode(found.confidence)
    labels = apply_threshold(codes, book.lut(0.5), coarse=coarse, policy=policy).labels
    np.testing.assert_array_equal(png.decode(found.png), labels)
    edges = [0.0, *book.edges, 1.0]
    for at in np.ndindex(codes.shape):
        bin_ = int(codes[at]) // book.seconds % book.bins
        expected = round(255 * (edges[bin_] + edges[bin_ + 1]) / 2)
        if policy == "fill" and coarse[at] != 255:
            expected = 255
        if labels[at] == 255:
            expected = 0
        assert confidence[at] == pytest.approx(expected, abs=0.51)
        assert (confidence[at] > 0) == (labels[at] != 255)


def test_a_surer_bin_counts_more() -> None:
    book = Codebook(2)
    table = confidence_table(book)[: book.bins].astype(int)
    assert (np.diff(table) > 0).all()
    assert (table[0], table[-1], confidence_table(book)[book.invalid]) == (38, 254, 0)


def test_maps_of_weights_take_the_codec_too() -> None:
    book = Codebook(3)
    codes = np.random.default_rng(0).integers(0, book.num_codes, (40, 50)).astype(book.dtype)
    data = write_shard([("x", codes)], book)
    (plain,), (archived,) = (threshold_shard(data, book.lut(0.5), {}, confidence=True, codec=codec) for codec in CODECS)
    assert plain.confidence != archived.confidence
    np.testing.assert_array_equal(png.decode(plain.confidence), png.decode(archived.confidence))
    np.testing.assert_array_equal(png.decode(plain.png), png.decode(archived.png))


def test_no_weights_unless_asked_for() -> None:
    book = Codebook(3)
    data = write_shard([("x", np.zeros((2, 2), book.dtype))], book)
    assert threshold_shard(data, book.lut(0), {})[0].confidence is None


@pytest.mark.parametrize("policy", ["off", "fill"])
def test_an_image_states_its_mean_confidence(policy: str) -> None:
    book, codes = Codebook(3), np.array([[0, 20, 200]], np.uint8)
    coarse = np.array([[255, 1, 255]], np.uint8)
    (found,) = threshold_shard(write_shard([("x", codes)], book), book.lut(0), {"x": coarse}, policy)
    result = apply_threshold(codes, book.lut(0), coarse=coarse, policy=policy)
    assert found.mean_confidence == mean_confidence(codes, result.labels, book, result.from_coarse)
    assert found.mean_confidence is not None
