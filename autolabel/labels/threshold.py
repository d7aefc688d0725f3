"""From codes to label maps: a table applies the threshold, a policy combines the result with the coarse label.

This needs no GPU and always gives the same bytes. Each label map can have a confidence map: an 8-bit grey PNG with the
weight of each labelled pixel in training, 255 = 1. It is an alternative to a hard threshold: use a
low one, and weight each kept pixel by the confidence of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import fsum
from typing import NamedTuple

import numpy as np

from autolabel.classes import IGNORE
from autolabel.errors import LabelError, SettingError
from autolabel.labels.codebook import Codebook
from autolabel.labels.label_rules import OUTCOMES, LabelRules, apply_rules, count_outcomes
from autolabel.labels.png import CODECS

PIXEL_OUTCOMES = OUTCOMES[:5]
FULL = 255  # confidence 1


def _off(predicted: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    return predicted


def _veto(predicted: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Pixels for which an annotator drew another class are ignored."""
    return np.where((coarse != IGNORE) & (coarse != predicted), np.uint8(IGNORE), predicted)


def _fill(predicted: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The annotator's class inside the polygons, the teacher's around them."""
    return np.where(coarse != IGNORE, coarse, predicted)


POLICIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"off": _off, "veto": _veto, "fill": _fill}


class ThresholdResult(NamedTuple):
    """One image after the threshold; all other facts about its labels follow from these maps."""

    labels: np.ndarray  # (H, W) uint8 train ids after the policy, 255 = ignore
    predicted: np.ndarray  # (H, W) uint8: the teacher's class where it exceeds the threshold, before the policy
    from_coarse: np.ndarray | None  # (H, W) bool: pixels that take the coarse class; None = no pixel does
    outcomes: np.ndarray | None = None  # (H, W) uint8: positions in OUTCOMES, where rules by class are in use

    def part(self, place: tuple[slice, slice]) -> ThresholdResult:
        """The result of a part of the image."""
        return ThresholdResult(
            self.labels[place],
            self.predicted[place],
            None if self.from_coarse is None else self.from_coarse[place],
            None if self.outcomes is None else self.outcomes[place],
        )


def apply_threshold(
    codes: np.ndarray, lut: np.ndarray, *, coarse: np.ndarray | None = None, policy: str = "off"
) -> ThresholdResult:
    """Look codes (H, W) up in the table of `Codebook.lut` and apply a policy of `POLICIES` toward the coarse label.

    `coarse`: (H, W) uint8 train ids; without it the policy is "off". Raises ConfigError for an unknown
    policy and LabelError if the coarse label has another size.
    """
    if policy not in POLICIES:
        raise SettingError("coarse", f"no policy is named {policy!r}", f"take one of {', '.join(POLICIES)}")
    assert len(lut) == np.iinfo(codes.dtype).max + 1, f"a table of {len(lut)} for {codes.dtype} codes"
    predicted = lut[codes]
    if coarse is None:
        return ThresholdResult(predicted, predicted, None)
    if coarse.shape != codes.shape:
        raise LabelError("coarse label", f"is {coarse.shape}, its image {codes.shape} (height, width)")
    from_coarse = coarse != IGNORE if policy == "fill" else None
    return ThresholdResult(POLICIES[policy](predicted, coarse), predicted, from_coarse)


def apply_label_rules(
    codes: np.ndarray, lut: np.ndarray, book: Codebook, *, coarse: np.ndarray | None, rules: LabelRules
) -> ThresholdResult:
    """As `apply_threshold`, by rules for single classes. Raises LabelError for a map of another size."""
    predicted = lut[codes]
    labels, outcomes = apply_rules(book.lut(0)[codes], predicted, coarse, rules)
    return ThresholdResult(labels, predicted, outcomes == OUTCOMES.index("filled"), outcomes)


def pixel_outcomes(codes: np.ndarray, result: ThresholdResult, num_codes: int) -> dict[str, int]:
    """Number of pixels by outcome: why they are labelled or ignored. They sum to the image's pixels.

    Every one of PIXEL_OUTCOMES is there; others of OUTCOMES are where a pixel has them.

    "filled" pixels take their class from the coarse label and "kept" ones from the teacher. "veto": the coarse label
    contradicts. "low_confidence": the threshold was not exceeded. "no_prediction": the code is invalid.
    """
    if result.outcomes is not None:
        return count_outcomes(result.outcomes)
    sure, labelled = result.predicted != IGNORE, result.labels != IGNORE
    teacher = np.True_ if result.from_coarse is None else ~result.from_coarse
    pixels = {
        "kept": teacher & labelled,
        "filled": np.False_ if result.from_coarse is None else result.from_coarse,
        "low_confidence": teacher & ~sure & (codes < num_codes),
        "veto": teacher & sure & ~labelled,
        "no_prediction": teacher & (codes >= num_codes),
    }
    return {name: int(np.count_nonzero(pixels[name])) for name in PIXEL_OUTCOMES}


def confidence_table(book: Codebook) -> np.ndarray:
    """The table (256,) or (65536,) uint8 from a code to its confidence: 255 times the middle of its probability bin."""
    return np.round(FULL * _middles(book)).astype(np.uint8)


def _middles(book: Codebook) -> np.ndarray:
    """(256,) or (65536,) float64: the middle of the probability bin of each code; 0 where it is invalid."""
    limits = np.array([0.0, *book.edges, 1.0])
    table = np.zeros(book.invalid + 1)
    table[: book.num_codes] = np.repeat(np.tile((limits[:-1] + limits[1:]) / 2, book.num_classes), book.seconds)
    return table


def confidence_values(book: Codebook) -> np.ndarray:
    """The table (256,) or (65536,) float32 from a code to the middle of its probability bin; 0 where it is invalid."""
    return _middles(book).astype(np.float32)


def mean_confidence(
    codes: np.ndarray, labels: np.ndarray, book: Codebook, drawn: np.ndarray | None = None
) -> float | None:
    """Mean over the labelled pixels: the middle of each one's probability bin, and 1 where an annotator drew it.

    `drawn`: (H, W) bool, as `ThresholdResult.from_coarse`. Six decimals; None where no pixel is labelled.
    """
    labelled = labels != IGNORE
    by_teacher = labelled if drawn is None else labelled & ~drawn
    counts = np.bincount(codes[by_teacher], minlength=book.invalid + 1)
    total = int(np.count_nonzero(labelled))
    used = np.flatnonzero(counts)
    certain = total - int(counts.sum())
    mean = fsum((*(counts[used] * _middles(book)[used]), certain)) / max(total, 1)  # fsum: the same on every machine
    return round(mean, 6) if total else None


def confidence_weights(codes: np.ndarray, result: ThresholdResult, table: np.ndarray) -> np.ndarray:
    """(H, W) uint8 confidence of labels: 0 where ignored, 255 where an annotator drew them."""
    confidence = table[codes]
    if result.from_coarse is not None:
        confidence = np.where(result.from_coarse, np.uint8(FULL), confidence)
    return np.where(result.labels == IGNORE, np.uint8(0), confidence)


class LabelledImage(NamedTuple):
    id: str
    png: bytes  # the label map, as the codec encodes it
    counts: tuple[int, ...]  # pixels per class, then ignored ones: (K + 1)
    reasons: dict[str, int]  # pixels per outcome: `pixel_outcomes`
    confidence: bytes | None = None  # the confidence map in the same encoding, if requested
    mean_confidence: float | None = None  # of the labelled pixels; None where there are none


def threshold_shard(
    data: bytes,
    lut: np.ndarray,
    coarse_by_id: Mapping[str, np.ndarray | None],
    policy: str = "off",
    *,
    confidence: bool = False,
    codec: str = "default",
    values: np.ndarray | None = None,
    rules: LabelRules | None = None,
) -> list[LabelledImage]:
    """Label every image of a shard, in its order: a pure function for worker processes.

    `values`: (256,) uint8 table from a train id to the value in the PNG; None keeps train ids. `coarse_by_id` needs no
    entry for an image without a coarse label. `rules` go before `policy`. `codec` is one of CODECS, its library
    installed; it encodes the confidence maps too. Raises DataError for a damaged shard or a coarse label of another
    size, and ConfigError for an unknown policy.
    """
    from autolabel.labels.shards import read_shard  # with h5py, which `predict` does not need

    shard, encode = read_shard(data), CODECS[codec]
    table = confidence_table(shard.book) if confidence else None

    def label(image_id: str) -> LabelledImage:
        codes = shard.codes(image_id)
        coarse = coarse_by_id.get(image_id)
        if rules is None:
            result = apply_threshold(codes, lut, coarse=coarse, policy=policy)
        else:
            result = apply_label_rules(codes, lut, shard.book, coarse=coarse, rules=rules)
        return LabelledImage(
            image_id,
            encode(result.labels if values is None else values[result.labels]),
            count_pixels(result.labels, shard.book.num_classes),
            pixel_outcomes(codes, result, shard.book.num_codes),
            None if table is None else encode(confidence_weights(codes, result, table)),
            mean_confidence(codes, result.labels, shard.book, result.from_coarse),
        )

    return [label(image_id) for image_id in shard.ids]


def count_pixels(labels: np.ndarray, num_classes: int) -> tuple[int, ...]:
    """Pixels per class of a (H, W) uint8 map, then the ignored ones: (K + 1); their sum is H * W."""
    counts = np.bincount(labels.ravel(), minlength=256)
    assert counts[num_classes:IGNORE].sum() == 0, "a label outside the classes"
    return (*counts[:num_classes].tolist(), int(counts[IGNORE]))
