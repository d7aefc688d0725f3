"""Which threshold to choose: how much is kept and how much of it is right, measured on held-out fine labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.numbers import number, ratio, share


class ClassPoint(TypedDict):
    kept: float | None  # share of the pixels given this class that have p > threshold
    precision: float | None  # share of those kept that are right


class ThresholdPoint(TypedDict):
    threshold: float
    pixels: int  # kept
    kept: float | None  # share of labelled pixels with p > threshold
    precision: float | None  # P[right | p > threshold]
    classes: dict[str, ClassPoint]


class SecondClassPoint(TypedDict):
    """Of the second most probable classes, where they were kept."""

    kept: float | None  # share of labelled pixels that have one
    wrong: int  # those of them whose first class is wrong
    right: float | None  # share of these whose second class is right


class ThresholdCurveResult(TypedDict):
    images: int
    pixels: int  # labelled ones
    thresholds: list[ThresholdPoint]  # 0 first (every prediction kept), then every bin edge, ascending
    second: NotRequired[SecondClassPoint]  # where the codes hold second classes


class ThresholdCurve:
    """Precision and kept share at every bin edge, from codes and fine labels of the same images."""

    def __init__(self, names: Sequence[str], edges: Sequence[float]) -> None:
        """`edges` are the ascending bin edges of the codes: bin b holds edges[b - 1] < p <= edges[b]."""
        assert list(edges) == sorted(edges), "edges ascend"
        self._names, self._edges = list(names), list(edges)
        self._counts = np.zeros((2, len(self._names), len(self._edges) + 1), np.int64)  # wrong/right, class, bin
        self._images = self._pixels = 0
        self._seconds: NDArray[np.int64] | None = None  # pixels: with a second class, of these wrong, of these right

    def add(
        self,
        classes: NDArray[np.integer],
        bins: NDArray[np.integer],
        *,
        label: NDArray[np.uint8],
        second: NDArray[np.integer] | None = None,
    ) -> None:
        """Count one image: winning classes (ignore: no prediction), their probability bins and the label, (H, W);
        second classes (ignore: none) where codes hold them."""
        count, width = len(self._names), len(self._edges) + 1
        labelled = label < count
        used = labelled & (classes < count)
        won = classes[used].astype(np.int64)
        index = ((won == label[used]) * count + won) * width + bins[used]
        self._counts += np.bincount(index, minlength=self._counts.size).reshape(self._counts.shape)
        if second is not None:
            kept = used & (second < count)
            wrong = kept & (classes != label)
            found = [np.count_nonzero(part) for part in (kept, wrong, wrong & (second == label))]
            self._seconds = np.array(found) + (0 if self._seconds is None else self._seconds)
        self._images += 1
        self._pixels += int(np.count_nonzero(labelled))

    def result(self) -> ThresholdCurveResult:
        # p > edges[i] means bin >= i + 1, so summing from the last bin down gives every threshold at once.
        above = self._counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]  # (2, K, bins)
        thresholds = [self._at(t, above[:, :, b], above[:, :, 0]) for b, t in enumerate([0.0, *self._edges])]
        result = ThresholdCurveResult(images=self._images, pixels=self._pixels, thresholds=thresholds)
        if self._seconds is not None:
            kept, wrong, right = self._seconds.tolist()
            result["second"] = SecondClassPoint(kept=share(kept, self._pixels), wrong=wrong, right=share(right, wrong))
        return result

    def _at(self, threshold: float, counts: NDArray[np.int64], everything: NDArray[np.int64]) -> ThresholdPoint:
        kept = counts.sum(axis=0)  # (K,)
        shares, precisions = ratio(kept, everything.sum(axis=0)), ratio(counts[1], kept)
        return ThresholdPoint(
            threshold=float(threshold),
            pixels=int(kept.sum()),
            kept=share(kept.sum(), self._pixels),
            precision=share(counts[1].sum(), kept.sum()),
            classes={
                name: ClassPoint(kept=number(part), precision=number(right))
                for name, part, right in zip(self._names, shares.tolist(), precisions.tolist(), strict=True)
            },
        )
