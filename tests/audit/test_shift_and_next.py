"""Predicted accuracy, its alarm, and the choice of images, on cases whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from autolabel.audit.cells import CellIndex
from autolabel.audit.next_images import choose_next, doubt_of
from autolabel.audit.queue import rarity
from autolabel.audit.shift import fit_line, held_out_images, mean_confidence, shift_result, unknown_groups
from autolabel.labels.calibration import count_cells, count_predicted
from autolabel.labels.codebook import Codebook


def drives(rng: np.random.Generator, number: int, lower: float = 0.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Confidence and accuracy of 12 images in each of some drives."""
    base = rng.normal(0.9, 0.01, number).repeat(12) - lower
    confidence = base + rng.normal(0, 0.015, len(base))
    accuracy = 0.8 * confidence + 0.1 + rng.normal(0, 0.005, len(base))
    return confidence, accuracy, [f"drive {n // 12}" for n in range(len(base))]


def test_accuracy_is_predicted_and_the_alarm_names_the_strange_drive() -> None:
    rng = np.random.default_rng(0)
    confidence, accuracy, groups = drives(rng, 6)
    own, truth, names = drives(rng, 5)
    strange, strange_truth, _ = drives(rng, 1, lower=0.2)
    images = np.append(own, strange), [*names, *["night"] * 12], [str(n) for n in range(72)]
    result = shift_result((confidence, accuracy, groups), images)
    assert unknown_groups(result) == ["night"]
    found = {row["group"]: row for row in result["groups"]}
    assert found["night"]["accuracy"] == pytest.approx(strange_truth.mean(), abs=0.05)
    for number in range(5):
        part = truth[number * 12 : number * 12 + 12]
        assert found[f"drive {number}"]["accuracy"] == pytest.approx(part.mean(), abs=0.01)
    assert result["groups"][0]["group"] == "night"
    assert result["error"] < 0.01
    assert {int(n) for n in result["lowest"]} <= set(range(60, 72))


def test_the_alarm_is_silent_on_drives_like_those_held_out() -> None:
    rng = np.random.default_rng(1)
    alarms = [bool(unknown_groups(shift_result(drives(rng, 6), (*drives(rng, 6)[::2], [""] * 72)))) for _ in range(100)]
    assert np.mean(alarms) <= 0.05


def test_void_areas_raise_no_alarm() -> None:
    """People leave out what is hard: a third of each held-out image is void, where the teacher is unsure."""
    rng, book = np.random.default_rng(4), Codebook(2)
    probabilities = np.tile(np.linspace(0.1, 0.99, book.bins), (2, 1))
    counts, confidence = [], []
    for image in range(24):
        winner = rng.integers(0, 2, (30, 30))
        bins = rng.integers(book.bins - 3, book.bins, winner.shape)
        bins[:10] = rng.integers(0, 3, (10, 30))
        if image % 2:
            confidence.append(mean_confidence(count_predicted(book, winner, bins)[None], probabilities)[0])
            np.testing.assert_allclose(confidence[-1], probabilities[winner, bins].mean())
        else:
            fine = np.where(rng.random(winner.shape) < 0.9, winner, 1 - winner)
            fine[:10] = 255
            counts.append((count_predicted(book, winner, bins), *count_cells(book, winner, bins, fine)))
    groups = [f"drive {n // 3}" for n in range(12)]
    held_out = held_out_images(*np.array(counts).swapaxes(0, 1), probabilities, groups)
    assert held_out[1].mean() == pytest.approx(0.9, abs=0.02)
    result = shift_result(held_out, (np.array(confidence), groups, groups))
    assert unknown_groups(result) == []
    assert result["accuracy"] == pytest.approx(0.9, abs=0.02)
    all_void = np.zeros_like(np.array(counts)[:, 0])
    assert held_out_images(all_void + 1, all_void, all_void, probabilities, groups)[2] == []


def test_few_held_out_images_raise_no_alarm() -> None:
    result = shift_result((np.array([0.9, 0.8]), np.array([0.9, 0.7]), ["a", "b"]), (np.array([0.1]), ["x"], ["1"]))
    assert (result["limit"], unknown_groups(result), result["error"]) == (None, [], None)
    assert fit_line(np.zeros(0), np.zeros(0)) == (1.0, 0.0, 0.0)


def index_of(labelled: np.ndarray, ignored: np.ndarray) -> CellIndex:
    """(N, K, B + 1) and (N, K, B) counts as an index."""
    flat = np.concatenate([labelled.reshape(len(labelled), -1), ignored.reshape(len(ignored), -1)], axis=1)
    rows, cells = np.nonzero(flat)
    ids = tuple(str(n) for n in range(len(flat)))
    return CellIndex(labelled.shape[1], ignored.shape[2], ids, rows, cells, flat[rows, cells], np.zeros(len(flat)))


def test_doubt_of_images() -> None:
    rng = np.random.default_rng(2)
    labelled, ignored = rng.integers(0, 50, (5, 3, 5)), rng.integers(0, 50, (5, 3, 4))
    right = rng.uniform(0, 1, (3, 4))
    wanted = ((labelled[:, :, :-1] + ignored) * (1 - right)).sum(axis=2)
    np.testing.assert_allclose(doubt_of(index_of(labelled, ignored), right), wanted)


def test_the_choice_is_greedy_and_near_the_best() -> None:
    rng = np.random.default_rng(3)
    doubt, groups, pixels = rng.gamma(0.5, 100, (9, 4)), list("aaabbbccc"), np.array([900, 500, 80, 3])

    def value(chosen: tuple[int, ...]) -> float:
        held = {g: np.sqrt(sum((doubt[n] for n in chosen if groups[n] == g), np.zeros(4))) for g in "abc"}
        return float((sum(held.values()) * rarity(pixels)).sum())

    chosen = choose_next(doubt, groups, pixels, 3)
    taken = tuple(row.image for row in chosen)
    for step in range(3):
        others = [n for n in range(9) if n not in taken[:step]]
        assert value(taken[: step + 1]) == pytest.approx(max(value((*taken[:step], n)) for n in others))
    assert value(taken) >= 0.63 * max(value(some) for some in itertools.combinations(range(9), 3))
    assert sum(row.gain for row in choose_next(doubt, groups, pixels, 99)) == pytest.approx(1)
    assert chosen[0].wrong == pytest.approx(doubt[taken[0]].sum())


def test_a_copy_is_worth_less_than_an_image_of_another_drive() -> None:
    doubt = np.array([[100.0, 0], [99, 0], [60, 0]])
    assert [row.image for row in choose_next(doubt, ["a", "a", "b"], np.array([5, 5]), 3)] == [0, 2, 1]
