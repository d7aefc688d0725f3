"""The accuracy of a label set from the answers of a person about single pixels, stratified by class and bin.

A stratum is a class and a few neighbouring bins. Within it pixels are drawn alike, so the fraction of right answers
estimates that of its pixels, and the strata add up by their numbers of pixels (Cochran, Sampling Techniques, 1977,
chapter 5). Answers about several cuts are not drawn alike: each weighs by the inverse of how often a pixel like its own
was asked about (Hajek, 1971). Most questions go where most answers are uncertain. The interval is that of Clopper and
Pearson for the number of independent answers that would vary as much (Korn and Graubard, Confidence intervals for
proportions with small expected number of positive counts, 1998); a stratum without errors still counts as uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma, log
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluation.intervals import CONFIDENCE
from autolabel.evaluation.numbers import number

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

PER_CLASS = 2  # strata of a class at most, beside that of drawn pixels
_PRIOR = 2.0  # answers that the expectation counts as, where the variance of a stratum is estimated
_LEAST = 1.0  # question per stratum, as far as the number goes


class Strata(NamedTuple):
    """(K, B + 1) number of each cell's stratum, from 0; the last column is of pixels that a person drew."""

    of_cell: Counts
    number: int


class Cut(NamedTuple):
    """A label set that questions were drawn from: its pixels (K, B + 1), and its strata."""

    pixels: Counts
    strata: Strata


class Answers(NamedTuple):
    """Answers about pixels of a label set; all (N,)."""

    classes: Counts
    sources: Counts  # bin; the number of bins: drawn by a person
    yes: NDArray[np.bool_]
    weights: Floats  # as `answer_weights` gives them; equal ones where all were asked about one cut

    def of(self, chosen: NDArray[np.bool_]) -> Answers:
        return Answers(self.classes[chosen], self.sources[chosen], self.yes[chosen], self.weights[chosen])


class SpotEstimate(TypedDict):
    accuracy: float | None  # of the labelled pixels; None without an answer
    low: float | None  # ends of the 95 % interval
    high: float | None
    answers: int
    uniform: int | None  # answers that questions drawn evenly over all pixels would take for such an interval


class SpotResult(SpotEstimate):
    classes: dict[str, SpotEstimate]
    advice: list[str]


def strata_of(pixels: Counts, right: Floats) -> Strata:
    """Strata of cells (K, B + 1): the bins of a class are parted where half of its doubt lies.

    `right` (K, B + 1) is the expected probability that a pixel is right. A function of codes and calibration alone, so
    answers keep their meaning when thresholds change.
    """
    doubt = pixels * np.sqrt(right * (1 - right)) + 1e-9
    doubt[:, -1] = 0
    part = np.minimum((doubt.cumsum(axis=1) - doubt / 2) / doubt.sum(axis=1, keepdims=True) * PER_CLASS, PER_CLASS - 1)
    local = part.astype(np.int64)
    local[:, -1] = PER_CLASS
    cells = np.arange(len(pixels))[:, None] * (PER_CLASS + 1) + local
    used, dense = np.unique(cells, return_inverse=True)
    return Strata(dense.reshape(cells.shape).astype(np.int64), len(used))


def allocate(pixels: Counts, right: Floats, strata: Strata, asked: Counts, questions: int) -> Counts:
    """(S,) questions per stratum, so that with those asked before their numbers follow the doubt (Neyman allocation).

    Every stratum that holds pixels has at least one, as far as the number goes.
    """
    weight = _sum(pixels, strata)
    doubt = _sum(pixels * np.sqrt(np.clip(right * (1 - right), 0.02, None)), strata)
    wanted = np.where(weight > 0, np.maximum(doubt / max(doubt.sum(), 1e-12) * (asked.sum() + questions), _LEAST), 0.0)
    chosen = np.zeros(strata.number, np.int64)
    for _ in range(questions if weight.any() else 0):
        chosen[int(np.argmax((wanted - asked - chosen) / np.maximum(np.sqrt(wanted), 1e-9) * (weight > 0)))] += 1
    return chosen


def answer_weights(cuts: Sequence[Cut], present: int, own: Counts, then: Counts, now: Counts) -> Floats:
    """(N,) weights of all decided answers: one over the number of questions that a pixel like theirs could expect.

    `own` (N,) is the cut that each was asked about, `present` the one that is estimated. `then` and `now` (N,) are
    flat cells of the pixel in its own and in the present cut. Whether a third cut kept the pixel is not known, but
    what part of its cell it kept.
    """
    expected = np.zeros(len(own))
    for place, cut in enumerate(cuts):
        of_cell, size = cut.strata.of_cell.ravel(), cut.strata.number
        asked = np.bincount(of_cell[then[own == place]], minlength=size)
        rates = (asked / np.maximum(_sum(cut.pixels, cut.strata), 1))[of_cell]
        before = np.array([other.pixels.ravel() for other in cuts])[own, then]
        kept = np.minimum(cut.pixels.ravel()[then] / np.maximum(before, 1), 1.0)
        other = rates[now] if place == present else rates[then] * kept
        expected += np.where(own == place, rates[then], other)
    return 1 / np.maximum(expected, 1e-300)


def _sum(values: NDArray[np.generic], strata: Strata) -> Floats:
    total: Floats = np.bincount(strata.of_cell.ravel(), weights=values.ravel(), minlength=strata.number).astype(float)
    return total


def estimate(pixels: Counts, right: Floats, answers: Answers, strata: Strata, names: Sequence[str]) -> SpotResult:
    """The accuracy of the pixels (K, B + 1) of a label set.

    Cells without pixels, such as those below a threshold, do not count, and neither do answers about them.
    """
    answers = answers.of(pixels[answers.classes, answers.sources] > 0)
    total = _estimate(pixels, right, answers, strata)
    classes = {
        name: _estimate(np.where(own[:, None], pixels, 0), right, answers.of(own[answers.classes]), strata)
        for name, own in zip(names, np.eye(len(pixels), dtype=bool), strict=False)
        if pixels[own].any()
    }
    return SpotResult(**total, classes=classes, advice=_advice(pixels, answers, strata, names))


def _estimate(pixels: Counts, right: Floats, answers: Answers, strata: Strata) -> SpotEstimate:
    weight, expected = _sum(pixels, strata), _sum(pixels * right, strata)
    if not answers.yes.size:
        return SpotEstimate(accuracy=None, low=None, high=None, answers=0, uniform=None)
    part = weight / weight.sum()
    prior = np.divide(expected, weight, out=np.ones_like(weight), where=weight > 0)
    means, worth = _by_stratum(answers, strata)
    # A stratum without an answer takes the mean of those that have one.
    mean = (part * means).sum() / part[worth > 0].sum()
    smoothed = (worth * means + _PRIOR * prior) / (worth + _PRIOR)
    variance = float((part**2 * smoothed * (1 - smoothed) / np.maximum(worth, 0.5)).sum())
    spread = mean * (1 - mean)
    smooth_mean = float((part * smoothed).sum())
    effective = max(smooth_mean * (1 - smooth_mean), spread) / max(variance, 1e-12)
    low, high = binomial_interval(mean * effective, effective)
    half = max((high - low) / 2, 1e-6)
    uniform = round(3.8415 * max(spread, smooth_mean * (1 - smooth_mean)) / half**2)
    return SpotEstimate(
        accuracy=number(float(mean)), low=round(low, 6), high=round(high, 6), answers=len(answers.yes), uniform=uniform
    )


def _by_stratum(answers: Answers, strata: Strata) -> tuple[Floats, Floats]:
    """(S,) the weighted fraction that is right, and the number of even answers that it is worth (Kish, 1965)."""
    stratum = strata.of_cell[answers.classes, answers.sources]

    def total(values: Floats) -> Floats:
        return np.bincount(stratum, weights=values, minlength=strata.number)

    weights = answers.weights / answers.weights.max()
    whole, squares = total(weights), total(weights**2)
    means = np.divide(total(weights * answers.yes), whole, out=np.zeros_like(whole), where=whole > 0)
    return means, np.divide(whole**2, squares, out=np.zeros_like(whole), where=squares > 0)


def _advice(pixels: Counts, answers: Answers, strata: Strata, names: Sequence[str]) -> list[str]:
    """The classes whose least sure kept pixels are, by the answers, more likely wrong than right."""
    lines = []
    answered, confirmed = np.zeros_like(pixels), np.zeros_like(pixels)
    np.add.at(answered, (answers.classes, answers.sources), 1)
    np.add.at(confirmed, (answers.classes, answers.sources), answers.yes.astype(np.int64))
    for k, name in enumerate(names):
        kept = np.flatnonzero(pixels[k, :-1])
        if not kept.size:
            continue
        least = strata.of_cell[k] == strata.of_cell[k, kept[0]]
        asked, yes = int(answered[k, least].sum()), int(confirmed[k, least].sum())
        low, high = binomial_interval(yes, asked) if asked else (0.0, 1.0)
        if high < 0.5:
            lines.append(f"{name}: raise its threshold; of its least sure pixels {yes} of {asked} are right")
        elif asked > 4 and yes == asked and len(kept) < pixels.shape[1] - 1 and low > 0.5:
            lines.append(f"{name}: a lower threshold may pay; its least sure pixels are right {yes} times of {asked}")
    return lines


def binomial_interval(yes: float, asked: float) -> tuple[float, float]:
    """The interval of Clopper and Pearson for a number of successes; both numbers need not be whole."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if yes <= 0 else _quantile(tail, yes, asked - yes + 1)
    high = 1.0 if yes >= asked else _quantile(1 - tail, yes + 1, asked - yes)
    return low, high


def _quantile(probability: float, a: float, b: float) -> float:
    """The quantile of the beta distribution, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if beta_cdf(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Numerical Recipes, section 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = np.exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x)) / a
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, 300):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / _away(1 + step * d)
            c = _away(1 + step / c)
            total *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return float(front * total)


def _away(value: float) -> float:
    """The value, away from 0."""
    return value if abs(value) > 1e-30 else 1e-30
