"""Rules by class against the same rules in words, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.artifacts.labels import label_rules
from autolabel.errors import LabelError
from autolabel.labels.codebook import Codebook
from autolabel.labels.label_rules import (
    LABELLED,
    OUTCOMES,
    POLICY_NAMES,
    LabelRules,
    apply_rules,
    border_of,
    coarse_tables,
)
from autolabel.labels.threshold import apply_label_rules, apply_threshold, pixel_outcomes

K = 4
BOOK = Codebook(K)
POLICIES = st.lists(st.sampled_from(POLICY_NAMES), min_size=K, max_size=K)
SETS = st.lists(st.frozensets(st.integers(0, K - 1), min_size=1), min_size=K, max_size=K)


def words(policies: list[str], sets: list[frozenset[int]], drawn: int, teacher: int, sure: bool) -> tuple[int, str]:
    """Label and outcome of a pixel; 255 = no polygon, no prediction."""
    policy = policies[drawn] if drawn != 255 else "off"
    allowed = sets[drawn] if policy != "off" else frozenset()
    if policy == "fill" and len(allowed) == 1:
        return min(allowed), "filled"
    if teacher == 255:
        return 255, "no_prediction"
    if teacher in allowed:
        if sure:
            return teacher, "kept"
        return (teacher, "confirmed") if policy in ("fill", "trust") else (255, "low_confidence")
    if not sure:
        return 255, "low_confidence"
    if policy != "off":
        return 255, "veto"
    return (255, "unconfirmed") if policies[teacher] == "agree" else (teacher, "kept")


@given(POLICIES, SETS, st.integers(0, 999))
def test_the_tables(policies: list[str], sets: list[frozenset[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    winner, coarse = (rng.choice([0, 1, 2, 3, 255], (8, 9)).astype(np.uint8) for _ in range(2))
    sure = np.where(rng.random((8, 9)) < 0.6, winner, 255).astype(np.uint8)
    labels, outcomes = apply_rules(winner, sure, coarse, LabelRules(*coarse_tables(policies, sets)))
    for at in np.ndindex(labels.shape):
        label, outcome = words(policies, sets, int(coarse[at]), int(winner[at]), sure[at] != 255)
        assert (labels[at], OUTCOMES[outcomes[at]]) == (label, outcome)
        assert (label != 255) == (outcome in LABELLED)


@pytest.mark.parametrize("policy", ["off", "veto", "fill"])
def test_one_policy_for_all_is_the_simple_policy(policy: str) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (30, 30)).astype(np.uint8)
    coarse = rng.choice([0, 1, 2, 3, 255], codes.shape).astype(np.uint8)
    rules = LabelRules(*coarse_tables([policy] * K, [frozenset({k}) for k in range(K)]))
    simple = apply_threshold(codes, BOOK.lut(0.5), coarse=coarse, policy=policy)
    by_class = apply_label_rules(codes, BOOK.lut(0.5), BOOK, coarse=coarse, rules=rules)
    np.testing.assert_array_equal(by_class.labels, simple.labels)
    assert pixel_outcomes(codes, by_class, BOOK.num_codes) == pixel_outcomes(codes, simple, BOOK.num_codes)
    assert by_class.from_coarse is not None
    if policy == "fill":
        np.testing.assert_array_equal(by_class.from_coarse, simple.from_coarse)


@given(st.integers(0, 99), st.integers(1, 3))
def test_borders(seed: int, width: int) -> None:
    coarse = np.random.default_rng(seed).choice([0, 0, 0, 1, 255], (7, 8)).astype(np.uint8)
    border = border_of(coarse, width)
    for y, x in np.ndindex(coarse.shape):
        near = coarse[max(y - width, 0) : y + width + 1, max(x - width, 0) : x + width + 1]
        assert border[y, x] == (coarse[y, x] != 255 and len(np.unique(near)) > 1)


def test_polygons_that_count_for_nothing_have_no_border() -> None:
    meta = {"policies": ["veto", "off", "veto", "veto"], "sets": [[k] for k in range(K)], "border": 1}
    rules = label_rules({**meta, "least": [0] * K, "ego": False}, None)
    assert rules is not None
    winner = np.zeros((4, 9), np.uint8)
    coarse = np.full((4, 9), 255, np.uint8)
    coarse[:, :3], coarse[:, 3:6] = 0, 1
    labels, outcomes = apply_rules(winner, winner, coarse, rules)
    named = np.array(OUTCOMES)[outcomes]
    assert (named == "border").all(axis=0).tolist() == [False, False, True, *[False] * 6], "of the class in use only"
    assert (labels[:, 3:] == 0).all()


def test_border_ego_and_small_regions_keep_the_first_reason() -> None:
    winner = np.zeros((6, 8), np.uint8)
    winner[5, 7] = 1
    coarse = np.full((6, 8), 255, np.uint8)
    coarse[:, :4] = 0
    ego = np.zeros((6, 8), bool)
    ego[4:, :4] = True
    least = np.zeros(256, np.int64)
    least[1] = 2
    rules = LabelRules(*coarse_tables(["veto"] * K, [frozenset({k}) for k in range(K)]), 1, least, ego)
    labels, outcomes = apply_rules(winner, winner, coarse, rules)
    named = np.array(OUTCOMES)[outcomes]
    assert (named[:, 3] == "border").all()
    assert (named[4:, :3] == "ego").all()
    assert named[5, 7] == "small"
    np.testing.assert_array_equal(labels != 255, named == "kept")
    with pytest.raises(LabelError, match="ego mask"):
        apply_rules(winner[:3], winner[:3], None, rules)
