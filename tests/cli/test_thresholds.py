"""`autolabel thresholds`: curves against the codes, choices, the promise and the experiment file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from autolabel.audit.choose_thresholds import Aim, HeldOutCounts, choose
from autolabel.audit.risk import units_needed
from autolabel.config.edit import with_class_thresholds
from autolabel.errors import ConfigError
from tests.stages.tiny_pipeline import call

EDGES = (0.5, 0.7, 0.9)
STEPS = (0.0, *EDGES)


def counts(images: int, seed: int = 0) -> HeldOutCounts:
    """Class 0: right where it is confident. Class 1: always equally right. Class 2: never predicted."""
    rng = np.random.default_rng(seed)
    kept = np.zeros((images, 3, 4), np.uint32)
    kept[:, :2] = rng.integers(500, 1000, (images, 2, 4))
    right = np.zeros_like(kept)
    right[:, 0] = rng.binomial(kept[:, 0], [0.5, 0.8, 0.9, 0.999])
    right[:, 1] = kept[:, 1]
    return HeldOutCounts(kept, right, np.full(images, 10_000), [str(i) for i in range(images)])


def test_curves_equal_sums_over_bins() -> None:
    table = counts(5)
    rows = choose(table, ["a", "b", "c"], STEPS, Aim())
    for t in range(4):
        kept, right = (part[:, 0, t:].sum() for part in (table.kept, table.right))
        assert rows["a"]["kept"][t] == kept / table.kept[:, 0].sum()
        assert rows["a"]["right"][t] == right / kept
    assert rows["c"]["kept"] == [None] * 4
    assert rows["c"]["note"] == "no held-out pixel is predicted as this class"
    assert rows["b"]["note"] == "the threshold does not matter here"
    assert rows["a"]["note"] == ""


def test_keep_takes_the_highest_threshold_that_keeps_enough() -> None:
    rows = choose(counts(5), ["a", "b", "c"], STEPS, Aim(keep=0.4))
    kept = [value for value in rows["a"]["kept"] if value is not None]
    assert rows["a"]["threshold"] == max(step for step, value in zip(STEPS, kept, strict=True) if value >= 0.4)
    assert rows["c"]["threshold"] is None


def test_a_promise_needs_enough_images() -> None:
    aim = Aim(max_error=0.05)
    many = choose(counts(200), ["a", "b", "c"], STEPS, aim)
    assert many["a"]["threshold"] == 0.9
    assert many["b"]["threshold"] == 0.0
    few = choose(counts(20), ["a", "b", "c"], STEPS, aim)
    assert few["a"]["threshold"] is few["b"]["threshold"] is None
    needed = units_needed(0.05, 0.95)
    assert f"cannot be promised with 20 of the {{units}} (it takes {needed} or more" in few["b"]["note"]


FILES = {
    "no table": 'name = "x"\n',
    "no newline": 'name = "x"\n[label]',
    "with table": 'name = "x"\n[label]  # labels\nthreshold = 0.7 # high\n\n# next\n[student]\nepochs = 3\n',
    "with key": 'name = "x"\n[label]\nclass_thresholds = { car = 0.9, "a b" = 0.3 } # mine\ncoarse = "fill"\n[fuse]\n',
    "empty key": "[label]\nclass_thresholds = {}\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_the_file_changes_in_one_line(text: str) -> None:
    edited = with_class_thresholds(text, {"pole": 0.5, "car": 0.7}, "x.toml")
    wanted = tomllib.loads(text)
    label = wanted.setdefault("label", {})
    label["class_thresholds"] = {**label.get("class_thresholds", {}), "pole": 0.5, "car": 0.7}
    assert tomllib.loads(edited) == wanted
    lines = [line for line in text.splitlines() if "class_thresholds" not in line]
    assert [line for line in edited.splitlines() if line in lines] == lines, "all other lines stay"
    assert with_class_thresholds(edited, {"pole": 0.5, "car": 0.7}, "x.toml") == edited


@pytest.mark.parametrize(
    "text",
    ["[label.class_thresholds]\ncar = 0.9\n", "label = { threshold = 0.5 }\n", "label.threshold = 0.5\n[data]\n"],
)
def test_a_form_that_is_not_understood_is_refused_with_the_line_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write class_thresholds = \{.*pole = 0.5 \}"):
        with_class_thresholds(text, {"pole": 0.5}, "x.toml")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--max-error", "5%", "--keep", "90%"), "are different aims"),
        (("--write",), "--write needs an aim"),
        (("--max-error", "0"), "is not a fraction such as 5% or 0.05"),
        (("--keep", "nan"), "is not a fraction"),
        (("--write", "--keep", "90%", "--set", "label.threshold_on=calibrated"), "label.threshold_on"),
    ],
)
def test_wrong_calls(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\n[data]\nsource = "synthetic"\n')
    result = call("thresholds", file, "--work", tmp_path / "w", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_codes_that_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\n[data]\nsource = "synthetic"\n')
    result = call("thresholds", file, "--work", tmp_path / "w")
    assert result.exit_code == 2
    assert "is not up to date" in result.stderr
