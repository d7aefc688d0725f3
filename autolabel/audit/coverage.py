"""Coverage of the labels: class balance per label layer, and the reasons why pixels are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.numbers import by_name, fraction, ratio
from autolabel.labels.label_rules import LABELLED

_ALARM = 0.9  # fraction: a class that lost more of its pixels raises an alarm


class Layer(TypedDict):
    images: int
    pixels: int
    ignored_share: float | None  # of all pixels
    share: dict[str, float | None]  # by class, of all pixels
    balance: dict[str, float | None]  # by class, of the labelled pixels
    images_with: dict[str, int]  # by class: images with at least one pixel of it


class CoverageResult(TypedDict):
    classes: list[str]
    layers: dict[str, Layer]  # "coarse", "auto", "fine", "truth", as far as they were added


class ClassBalance:
    """Class balance from the pixel counts of label files; call `add` once per file."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._present: dict[str, NDArray[np.int64]] = {}
        self._images: dict[str, int] = {}

    def add(self, layer: str, counts: Sequence[int] | NDArray[np.integer]) -> None:
        """Count one label of a layer; `counts` (K + 1,) holds the pixels per class, then the ignored pixels."""
        row = np.asarray(counts, np.int64)
        assert row.shape == (len(self._names) + 1,), f"{row.shape[0]} counts for {len(self._names)} classes"
        self._counts[layer] = self._counts.get(layer, np.zeros_like(row)) + row
        self._present[layer] = self._present.get(layer, np.zeros_like(row)) + (row > 0)
        self._images[layer] = self._images.get(layer, 0) + 1

    def result(self) -> CoverageResult:
        known = [layer for layer in ("coarse", "auto", "fine", "truth") if layer in self._counts]
        others = sorted(set(self._counts) - set(known))
        return CoverageResult(classes=self._names, layers={layer: self._layer(layer) for layer in known + others})

    def _layer(self, layer: str) -> Layer:
        counts = self._counts[layer]
        labelled = counts[:-1]
        return Layer(
            images=self._images[layer],
            pixels=int(counts.sum()),
            ignored_share=fraction(counts[-1], counts.sum()),
            share=by_name(self._names, ratio(labelled, counts.sum())),
            balance=by_name(self._names, ratio(labelled, labelled.sum())),
            images_with=dict(zip(self._names, self._present[layer][:-1].tolist(), strict=True)),
        )


def never_labelled(coverage: CoverageResult) -> list[str]:
    """Classes that people labelled but no auto label holds: a student cannot learn them from auto labels."""
    layers = dict(coverage["layers"])
    auto = layers.pop("auto", None)
    if auto is None or not auto["images"]:
        return []
    drawn = [name for name in coverage["classes"] if any(layer["images_with"][name] for layer in layers.values())]
    return [name for name in drawn if not auto["images_with"][name]]


class Reason(TypedDict):
    pixels: int
    share: float | None  # of all pixels


class IgnoredResult(TypedDict):
    pixels: int
    ignored: int
    reasons: dict[str, Reason]  # by pixel outcome (`labels.threshold.PIXEL_OUTCOMES`); they add up to `pixels`
    lost: dict[str, float | None]  # by class: fraction of the pixels predicted as it that ended as ignore
    alarms: list[str]  # one line per class that lost nearly everything


class IgnoredLedger:
    """Counts the reasons why pixels are ignored, in total and by the class that the teacher predicted."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._reasons: dict[str, int] = {}
        self._won = np.zeros(len(self._names) + 1, np.int64)  # by winning class, the last: no prediction
        self._lost = np.zeros_like(self._won)

    def add(self, reasons: Mapping[str, int]) -> None:
        """Count one image: its number of pixels by outcome."""
        for reason, pixels in reasons.items():
            self._reasons[reason] = self._reasons.get(reason, 0) + pixels

    def add_maps(self, final: NDArray[np.uint8], winner: NDArray[np.uint8]) -> None:
        """Count the pixels that each class lost in one image, from train ids (H, W), ignore = 255.

        `final` is the label as written; `winner` is the teacher's class at any probability. Without a call, `lost`
        stays undefined.
        """
        count = len(self._names)
        won = np.minimum(winner, count)
        self._won += np.bincount(won.ravel(), minlength=count + 1)
        self._lost += np.bincount(won[final >= count], minlength=count + 1)

    def result(self) -> IgnoredResult:
        pixels = sum(self._reasons.values())
        lost = by_name(self._names, ratio(self._lost, self._won)[:-1])
        return IgnoredResult(
            pixels=pixels,
            ignored=sum(count for reason, count in self._reasons.items() if reason not in LABELLED),
            reasons={name: Reason(pixels=n, share=fraction(n, pixels)) for name, n in self._reasons.items()},
            lost=lost,
            alarms=[
                f"{name} lost {100 * part:.0f} % of the pixels that the teacher gave it"
                for name, part in lost.items()
                if part is not None and part > _ALARM
            ],
        )
