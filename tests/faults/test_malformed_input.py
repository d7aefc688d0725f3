"""A part of the malformed manifests and experiments of `make soak`; and that its judges see what they are to see."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autolabel.data import schema
from autolabel.data.schema import ImageRow
from tests.faults import malformed_configs, malformed_manifests
from tests.faults.fault_malformed_input import run


@pytest.mark.slow
def test_malformed_input_is_refused_or_means_what_it_says(ram: Path) -> None:
    tally = run(1200, 0, ram)
    assert tally.tried == 1200
    assert not tally.bad, "\n".join(tally.bad)


@pytest.mark.slow
def test_a_rule_that_is_not_checked_is_found(ram: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "unsafe_path", lambda path: None)
    bad = run(1200, 0, ram).bad  # a sample of the paths that are wrong
    assert any(line.startswith("images.path = ") and line.endswith(": accepted") for line in bad)


@pytest.mark.slow
def test_an_error_of_another_class_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(row: ImageRow) -> str | None:
        1 // row.width
        return None

    monkeypatch.setattr(schema, "_image_problem", broken)
    found = [malformed_manifests.refusal(case) for case in malformed_manifests.cases(random.Random(0))]
    assert any(problem and problem.startswith("ZeroDivisionError") for problem in found)


def test_a_meaning_that_is_lost_is_found() -> None:
    lost = malformed_configs.Config("x", malformed_configs.GOOD.encode(), ("seed=2",), None, {"seed": 3})
    assert malformed_configs.refusal(lost) == "means {'seed': 2}"
    kept = malformed_configs.Config("x", malformed_configs.GOOD.encode(), (), "name")
    assert malformed_configs.refusal(kept) == "accepted"


@pytest.mark.slow
def test_there_are_enough_of_them() -> None:
    rng = random.Random(0)
    manifests, experiments = malformed_manifests.cases(rng), malformed_configs.configs(rng)
    assert len(manifests) > 250
    assert len(experiments) > 500
