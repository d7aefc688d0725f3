"""The estimator of a spot check, against hidden truth that it never sees."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from autolabel.audit.spot_check import (
    PER_CLASS,
    Answers,
    Cut,
    Strata,
    allocate,
    answer_weights,
    beta_cdf,
    binomial_interval,
    estimate,
    strata_of,
)

MIDDLES = np.array([0.15, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.925, 0.975])


def world(rng: np.random.Generator, num_classes: int = 11) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (K, B + 1) of a label set, the true fraction of right ones, and what the teacher states."""
    bins = len(MIDDLES)
    pixels = np.zeros((num_classes, bins + 1), np.int64)
    truth = np.full(pixels.shape, 0.99)
    for k in range(num_classes):
        shape = np.exp(rng.uniform(1, 8) * MIDDLES**2)
        shape[:3] = 0  # below the threshold
        pixels[k, :bins] = 1e7 * (rng.pareto(1.0) + 0.05) * shape / shape.sum()
        truth[k, :bins] = 1 / (1 + np.exp(-np.log(MIDDLES / (1 - MIDDLES)) - rng.normal(-0.3, 0.6)))
        pixels[k, bins] = pixels[k].sum() * rng.uniform(0, 1.5) * (rng.random() < 0.3)
    stated = np.hstack([np.tile(MIDDLES, (num_classes, 1)), np.full((num_classes, 1), 0.99)])
    return pixels, truth, stated


def ask(
    rng: np.random.Generator, pixels: np.ndarray, truth: np.ndarray, strata: Strata, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(K, B + 1) answers and confirmed answers to questions that are drawn evenly within each stratum."""
    flat, asked, yes = pixels.ravel(), np.zeros(pixels.size, np.int64), np.zeros(pixels.size, np.int64)
    for stratum in np.flatnonzero(wanted):
        cells = np.flatnonzero(strata.of_cell.ravel() == stratum)
        asked[cells] = rng.multinomial(wanted[stratum], flat[cells] / flat[cells].sum())
        yes[cells] = rng.binomial(asked[cells], truth.ravel()[cells])
    return asked.reshape(pixels.shape), yes.reshape(pixels.shape)


def answers_of(answered: np.ndarray, confirmed: np.ndarray) -> Answers:
    """Answers by number, all about one cut."""
    cells = np.repeat(np.arange(answered.size), answered.ravel())
    yes = np.concatenate([np.arange(a) < c for a, c in zip(answered.ravel(), confirmed.ravel(), strict=True)])
    return Answers(*np.divmod(cells, answered.shape[1]), yes, np.ones(len(cells)))


def simulate(number: int, questions: int) -> dict[str, float]:
    """Coverage of the 95 % interval over simulated label sets, and the error beside that of even questions."""
    rng = np.random.default_rng(0)
    covered, errors, even = [], [], []
    for _ in range(number):
        pixels, truth, stated = world(rng)
        strata = strata_of(pixels, stated)
        wanted = allocate(pixels, stated, strata, np.zeros(strata.number, np.int64), questions)
        found = estimate(pixels, stated, answers_of(*ask(rng, pixels, truth, strata, wanted)), strata, [])
        real = float((pixels * truth).sum() / pixels.sum())
        covered.append(found["low"] <= real <= found["high"])
        errors.append(found["accuracy"] - real)
        even.append(rng.binomial(questions, real) / questions - real)
    gain = float(np.mean(np.square(even)) / np.mean(np.square(errors)))
    return {"coverage": float(np.mean(covered)), "bias": float(np.mean(errors)), "gain": gain}


@pytest.mark.slow
def test_the_interval_covers_the_truth() -> None:
    found = simulate(250, 200)
    assert found["coverage"] >= 0.94
    assert abs(found["bias"]) < 0.004
    assert found["gain"] > 1.2  # even questions would need so many times as many


def test_few_answers_are_not_biased() -> None:
    """One stratum of a class: a large cell that is right, and many small ones that are wrong."""
    pixels, truth = np.array([[5000, 1000, 1000, 1000, 1000, 1000, 0]]), np.array([[1.0, 0, 0, 0, 0, 0, 1]])
    strata, right = Strata(np.array([[0] * 6 + [1]]), 2), np.full((1, 7), 0.7)
    for questions in (4, 20, 50):
        rng, found = np.random.default_rng(5), []
        for _ in range(150):
            answers = answers_of(*ask(rng, pixels, truth, strata, np.array([questions, 0])))
            found.append(estimate(pixels, right, answers, strata, ["a"])["classes"]["a"]["accuracy"])
        assert np.mean(found) == pytest.approx(0.5, abs=3.5 * 0.5 / np.sqrt(questions * 150))


def test_few_answers_about_two_cuts_are_not_biased() -> None:
    pixels, truth = np.array([[4000, 1000, 1000, 1000, 1000, 2000, 0]]), np.array([[0.2, 0, 1, 0.5, 0, 1, 1]])
    strata, right = Strata(np.array([[0] * 6 + [1]]), 2), np.full((1, 7), 0.7)
    high = pixels * [0, 0, 0, 1, 1, 1, 1]
    rng, found = np.random.default_rng(6), []
    for _ in range(400):
        parts = [answers_of(*ask(rng, cut, truth, strata, np.array([12, 0]))) for cut in (high, pixels)]
        both = Answers(*(np.concatenate(values) for values in zip(*parts, strict=True)))
        own = np.repeat([0, 1], 12)
        weights = answer_weights([Cut(high, strata), Cut(pixels, strata)], 1, own, both.sources, both.sources)
        found.append(estimate(pixels, right, both._replace(weights=weights), strata, ["a"])["accuracy"])
    assert np.mean(found) == pytest.approx((pixels * truth).sum() / pixels.sum(), abs=0.02)


def test_strata() -> None:
    pixels, _, stated = world(np.random.default_rng(3))
    strata = strata_of(pixels, stated)
    for row in strata.of_cell:
        assert (np.diff(row) >= 0).all(), "neighbouring bins"
        assert row[-1] not in row[:-1], "drawn pixels are by themselves"
        assert len(set(row)) <= PER_CLASS + 1
    assert len({*strata.of_cell.ravel().tolist()}) == strata.number
    assert sum(len(set(row)) for row in strata.of_cell) == strata.number, "no stratum holds two classes"


def test_allocation_goes_on_where_it_ended() -> None:
    pixels, _, stated = world(np.random.default_rng(4))
    strata = strata_of(pixels, stated)
    none = np.zeros(strata.number, np.int64)
    whole = allocate(pixels, stated, strata, none, 300)
    first = allocate(pixels, stated, strata, none, 100)
    second = allocate(pixels, stated, strata, first, 200)
    assert whole.sum() == 300
    assert np.abs(first + second - whole).max() <= 3
    empty = np.bincount(strata.of_cell.ravel(), weights=pixels.ravel()) == 0
    assert not whole[empty].any()
    assert not allocate(np.zeros_like(pixels), stated, strata, none, 9).any()


def test_answers_about_another_cut_stay_true() -> None:
    """Asked 80 times above a high threshold, then 20 times above a low one: no pixel counts more than another."""
    pixels = np.array([[500, 500, 0]])
    strata = Strata(np.array([[0, 0, 1]]), 2)
    right = np.array([[0.5, 0.9, 0.99]])
    answers = answers_of(np.array([[10, 90, 0]]), np.array([[2, 81, 0]]))
    cuts = [Cut(pixels * [0, 1, 1], strata), Cut(pixels, strata)]
    own = np.array([1] * 20 + [0] * 80)
    answers = answers._replace(weights=answer_weights(cuts, 1, own, answers.sources, answers.sources))
    found = estimate(pixels, right, answers, strata, ["a"])
    assert found["accuracy"] == pytest.approx(0.5 * 0.2 + 0.5 * 0.9)
    above = estimate(pixels * [0, 1, 1], right, answers, strata, ["a"])
    assert (above["accuracy"], above["answers"]) == (pytest.approx(0.9), 90)
    assert estimate(pixels, right, answers.of(own == 9), strata, ["a"])["accuracy"] is None


def test_advice_names_the_class_to_move() -> None:
    pixels = np.array([[0, 500, 500, 0], [0, 500, 500, 0]])
    strata = Strata(np.array([[0, 0, 1, 2], [3, 3, 4, 5]]), 6)
    right = np.full((2, 4), 0.8)
    answered = np.array([[0, 12, 9, 0], [0, 12, 9, 0]])
    confirmed = np.array([[0, 1, 9, 0], [0, 8, 9, 0]])
    advice = estimate(pixels, right, answers_of(answered, confirmed), strata, ["car", "road"])["advice"]
    assert advice == ["car: raise its threshold; of its least sure pixels 1 of 12 are right"]


@pytest.mark.parametrize(("yes", "asked"), [(0, 10), (10, 10), (3, 10), (97.3, 105.9), (1, 2)])
def test_the_binomial_interval(yes: float, asked: float) -> None:
    low, high = binomial_interval(yes, asked)
    assert low == pytest.approx(0 if yes == 0 else stats.beta.ppf(0.025, yes, asked - yes + 1), abs=1e-9)
    assert high == pytest.approx(1 if yes == asked else stats.beta.ppf(0.975, yes + 1, asked - yes), abs=1e-9)
    assert beta_cdf(0.3, 2.5, 7) == pytest.approx(stats.beta.cdf(0.3, 2.5, 7), abs=1e-12)
