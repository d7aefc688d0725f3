"""Cutting codes into label maps: a table for the threshold, a policy toward the coarse label.

Needs no GPU and gives the same bytes whenever it is done again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autolabel.classes import IGNORE
from autolabel.errors import ConfigError, LabelError

REASONS = ("kept", "filled", "low_confidence", "veto", "no_prediction")


def _off(labels: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    return labels


def _veto(labels: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Where an annotator drew another class, neither is trusted."""
    return np.where((coarse != IGNORE) & (coarse != labels), np.uint8(IGNORE), labels)


def _fill(labels: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The annotator's class inside the polygons, the teacher's around them."""
    return np.where(coarse != IGNORE, coarse, labels)


POLICIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"off": _off, "veto": _veto, "fill": _fill}


def cut(codes: np.ndarray, lut: np.ndarray, *, coarse: np.ndarray | None = None, policy: str = "off") -> np.ndarray:
    """Codes (H, W) through the table of `CodeBook.lut` to (H, W) uint8 train ids, 255 = ignore.

    `coarse`: (H, W) uint8 train ids; an image without a coarse label is cut as by "off". Raises ConfigError for an
    unknown policy and LabelError where the coarse label has another size.
    """
    if policy not in POLICIES:
        raise ConfigError("label.coarse", f"no policy is named {policy!r}", f"take one of {', '.join(POLICIES)}")
    assert len(lut) == np.iinfo(codes.dtype).max + 1, f"a table of {len(lut)} for {codes.dtype} codes"
    labels = lut[codes]
    if coarse is None:
        return labels
    if coarse.shape != codes.shape:
        raise LabelError("coarse label", f"is {coarse.shape}, its image {codes.shape} (height, width)")
    return POLICIES[policy](labels, coarse)


def reasons(
    codes: np.ndarray, lut: np.ndarray, num_codes: int, *, coarse: np.ndarray | None = None, policy: str = "off"
) -> dict[str, int]:
    """Why pixels are labelled or ignored: a count for each of REASONS, summing to the pixels of the image.

    "filled" pixels have their class from the coarse label, "kept" ones from the teacher; "veto": the coarse label
    contradicts; "low_confidence": the threshold was not exceeded; "no_prediction": the code is invalid.
    """
    labels = cut(codes, lut, coarse=coarse, policy=policy)
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
    return {name: int(np.count_nonzero(counts[name])) for name in REASONS}
