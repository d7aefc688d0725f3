"""Cutting codes into label maps: a table for the threshold, a policy toward the coarse label.

Needs no GPU and gives the same bytes whenever it is done again.

How much a labelled pixel counts in training: the probability of its label, as far as its code tells it.

A map of weights is an 8-bit grey PNG like the label's, 255 = 1. It is an alternative to a hard threshold: cut low, and
let each pixel count as much as the teacher was sure of it.

One shard of codes to encoded label maps: a pure function for worker processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from autolabel.classes import IGNORE
from autolabel.errors import ConfigError, LabelError
from autolabel.labels.codebook import Codebook
from autolabel.labels.png import CODECS
from autolabel.labels.shards import read_shard

PIXEL_OUTCOMES = ("kept", "filled", "low_confidence", "veto", "no_prediction")


def _off(labels: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    return labels


def _veto(labels: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Where an annotator drew another class, neither is trusted."""
    return np.where((coarse != IGNORE) & (coarse != labels), np.uint8(IGNORE), labels)


def _fill(labels: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The annotator's class inside the polygons, the teacher's around them."""
    return np.where(coarse != IGNORE, coarse, labels)


POLICIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"off": _off, "veto": _veto, "fill": _fill}


def apply_threshold(
    codes: np.ndarray, lut: np.ndarray, *, coarse: np.ndarray | None = None, policy: str = "off"
) -> np.ndarray:
    """Codes (H, W) through the table of `Codebook.lut` to (H, W) uint8 train ids, 255 = ignore.

    `coarse`: (H, W) uint8 train ids; an image without a coarse label is cut as by "off". Raises ConfigError for an
    unknown policy and LabelError where the coarse label has another size.
    """
    if policy not in POLICIES:
        raise ConfigError("label.coarse", f"no policy is named {policy!r}", f"take one of {', '.join(POLICIES)}")
    assert len(lut) == np.iinfo(codes.dtype).max + 1, f"a table of {len(lut)} for {codes.dtype} codes"
    labels: np.ndarray = lut[codes]
    if coarse is None:
        return labels
    if coarse.shape != codes.shape:
        raise LabelError("coarse label", f"is {coarse.shape}, its image {codes.shape} (height, width)")
    return POLICIES[policy](labels, coarse)


def pixel_outcomes(
    codes: np.ndarray, lut: np.ndarray, num_codes: int, *, coarse: np.ndarray | None = None, policy: str = "off"
) -> dict[str, int]:
    """Why pixels are labelled or ignored: a count for each of REASONS, summing to the pixels of the image.

    "filled" pixels have their class from the coarse label, "kept" ones from the teacher; "veto": the coarse label
    contradicts; "low_confidence": the threshold was not exceeded; "no_prediction": the code is invalid.
    """
    labels = apply_threshold(codes, lut, coarse=coarse, policy=policy)
    sure = lut[codes] != IGNORE
    filled = np.zeros_like(sure) if coarse is None or policy != "fill" else coarse != IGNORE
    unfilled = ~filled
    counts = {
        "kept": unfilled & (labels != IGNORE),
        "filled": filled,
        "low_confidence": unfilled & ~sure & (codes < num_codes),
        "veto": unfilled & sure & (labels == IGNORE),
        "no_prediction": unfilled & (codes >= num_codes),
    }
    return {name: int(np.count_nonzero(counts[name])) for name in PIXEL_OUTCOMES}


FULL = 255


def confidence_table(book: Codebook) -> np.ndarray:
    """The table (256,) or (65536,) uint8 from a code to its weight: 255 times the middle of its probability bin."""
    limits = np.array([0.0, *book.edges, 1.0])
    middles = np.round(FULL * (limits[:-1] + limits[1:]) / 2).astype(np.uint8)  # (bins,)
    table = np.zeros(book.invalid + 1, dtype=np.uint8)
    table[: book.num_codes] = np.repeat(np.tile(middles, book.num_classes), book.seconds)
    return table


def confidence_weights(
    codes: np.ndarray, labels: np.ndarray, table: np.ndarray, *, coarse: np.ndarray | None, policy: str
) -> np.ndarray:
    """(H, W) uint8 weights of labels cut from the codes: 0 where ignored, 255 where an annotator drew them."""
    weights = table[codes]
    if coarse is not None and policy == "fill":
        weights = np.where(coarse != IGNORE, np.uint8(FULL), weights)
    return np.where(labels == IGNORE, np.uint8(0), weights)


class LabelledImage(NamedTuple):
    id: str
    png: bytes  # the label map, as the codec makes it
    counts: tuple[int, ...]  # pixels a class, then ignored ones: (K + 1)
    reasons: dict[str, int]  # see `autolabel.labels.threshold.reasons`
    weights: bytes | None = None  # the map of weights, likewise, where it was asked for


def threshold_shard(
    data: bytes,
    lut: np.ndarray,
    coarse_by_id: Mapping[str, np.ndarray | None],
    policy: str = "off",
    *,
    weighed: bool = False,
    codec: str = "default",
) -> list[LabelledImage]:
    """Cut every image of a shard, in its order. `coarse_by_id` may lack images that have no coarse label.

    `codec` is one of CODECS, its library installed; maps of weights take it too. DataError for a damaged shard or a
    coarse label of another size, ConfigError for an unknown policy.
    """
    shard, encode = read_shard(data), CODECS[codec]
    results = []
    for image_id in shard.ids:
        codes, coarse = shard.codes(image_id), coarse_by_id.get(image_id)
        labels = apply_threshold(codes, lut, coarse=coarse, policy=policy)
        why = pixel_outcomes(codes, lut, shard.book.num_codes, coarse=coarse, policy=policy)
        weights = (
            confidence_weights(codes, labels, confidence_table(shard.book), coarse=coarse, policy=policy)
            if weighed
            else None
        )
        results.append(
            LabelledImage(
                image_id,
                encode(labels),
                count_pixels(labels, shard.book.num_classes),
                why,
                None if weights is None else encode(weights),
            )
        )
    return results


def count_pixels(labels: np.ndarray, num_classes: int) -> tuple[int, ...]:
    """Pixels of every class of a (H, W) uint8 map, then the ignored ones: (K + 1); their sum is H * W."""
    counts = np.bincount(labels.ravel(), minlength=256)
    assert counts[num_classes:IGNORE].sum() == 0, "a label outside the classes"
    return (*counts[:num_classes].tolist(), int(counts[IGNORE]))
