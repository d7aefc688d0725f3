"""Fraction of pixels kept and their precision at every threshold, measured on held-out fine labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.numbers import fraction, number, ratio


class ClassPoint(TypedDict):
    kept: float | None  # fraction of the pixels predicted as this class that have p > threshold
    precision: float | None  # fraction of the kept pixels that are right


class ThresholdPoint(TypedDict):
    threshold: float
    pixels: int  # kept
    kept: float | None  # fraction of labelled pixels with p > threshold
    precision: float | None  # P[right | p > threshold]
    classes: dict[str, ClassPoint]


class SecondClassPoint(TypedDict):
    """Figures of the second most probable classes, where the codes keep them."""

    kept: float | None  # fraction of labelled pixels that have a second class
    wrong: int  # number of these pixels whose first class is wrong
    right: float | None  # fraction of these wrong pixels whose second class is right


class ThresholdCurveResult(TypedDict):
    images: int
    pixels: int  # labelled pixels
    thresholds: list[ThresholdPoint]  # 0 (every prediction is kept), then every bin edge, ascending
    second: NotRequired[SecondClassPoint]  # where the codes hold second classes


class ThresholdCurve:
    """Counts codes against fine labels of the same images; call `add` once per image."""

    def __init__(self, names: Sequence[str], edges: Sequence[float]) -> None:
        """`edges` are the ascending bin edges of the codes: bin b holds edges[b - 1] < p <= edges[b]."""
        assert list(edges) == sorted(edges), "edges must ascend"
        self._names, self._edges = list(names), list(edges)
        self._counts = np.zeros((2, len(self._names), len(self._edges) + 1), np.int64)  # wrong/right, class, bin
        self._images = self._pixels = 0
        # Pixels with a second class; those of them with a wrong first class; those of these with a right second class.
        self._seconds: NDArray[np.int64] | None = None

    def add(
        self,
        classes: NDArray[np.integer],
        bins: NDArray[np.integer],
        *,
        label: NDArray[np.uint8],
        second: NDArray[np.integer] | None = None,
    ) -> None:
        """Count one image from maps (H, W): winning classes (ignore = no prediction), their probability bins, label.

        `second` holds the second classes (ignore = none) where the codes keep them.
        """
        count, width = len(self._names), len(self._edges) + 1
        labelled = label < count
        used = labelled & (classes < count)
        won = classes[used].astype(np.int64)
        index = ((won == label[used]) * count + won) * width + bins[used]
        self._counts += np.bincount(index, minlength=self._counts.size).reshape(self._counts.shape)
        if second is not None:
            kept = used & (second < count)
            wrong = kept & (classes != label)
            counts = [np.count_nonzero(mask) for mask in (kept, wrong, wrong & (second == label))]
            self._seconds = np.array(counts) + (0 if self._seconds is None else self._seconds)
        self._images += 1
        self._pixels += int(np.count_nonzero(labelled))

    def result(self) -> ThresholdCurveResult:
        # p > edges[i] means bin >= i + 1, so summing from the last bin down gives every threshold at once.
        above = self._counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]  # (2, K, bins)
        thresholds = [self._at(t, above[:, :, b], above[:, :, 0]) for b, t in enumerate([0.0, *self._edges])]
        result = ThresholdCurveResult(images=self._images, pixels=self._pixels, thresholds=thresholds)
        if self._seconds is not None:
            kept, wrong, right = self._seconds.tolist()
            result["second"] = SecondClassPoint(
                kept=fraction(kept, self._pixels), wrong=wrong, right=fraction(right, wrong)
            )
        return result

    def _at(self, threshold: float, counts: NDArray[np.int64], everything: NDArray[np.int64]) -> ThresholdPoint:
        kept = counts.sum(axis=0)  # (K,)
        fractions, precisions = ratio(kept, everything.sum(axis=0)), ratio(counts[1], kept)
        return ThresholdPoint(
            threshold=float(threshold),
            pixels=int(kept.sum()),
            kept=fraction(kept.sum(), self._pixels),
            precision=fraction(counts[1].sum(), kept.sum()),
            classes={
                name: ClassPoint(kept=number(value), precision=number(right))
                for name, value, right in zip(self._names, fractions.tolist(), precisions.tolist(), strict=True)
            },
        )
