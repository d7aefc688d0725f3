"""A step that went without some items is looked at again by every run; what it says of them may be damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from autolabel.config.schema import Experiment, InferConfig, LabelConfig
from autolabel.flow.graph import Pipeline
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.store import Artefact
from tests.flow.small import NUMBERS, run


def _make(ctx: Context) -> StageResult:
    ctx.draft.write("bad.txt", b"3")
    return StageResult(meta={}, bad_items=1)


def _mended(experiment: Experiment, inputs: Mapping[str, Artefact], made: Artefact) -> bool:
    """Never, but it reads what is bad, and the input."""
    return made.read("bad.txt") == inputs["numbers"].read("4.txt")


def _pipeline() -> Pipeline:
    p = Pipeline()
    numbers = p.add("numbers", NUMBERS, InferConfig(chunk=5))
    p.add(
        "picky",
        Stage(
            name="picky",
            version=1,
            output="numbers",
            inputs={"numbers": "numbers"},
            run=_make,
            can_retry=_mended,
        ),
        LabelConfig(),
        numbers=numbers,
    )
    return p


@pytest.mark.parametrize(("damaged", "again"), [("picky/*/data/bad.txt", {"picky"}), ("numbers/*/data/4.txt", set())])
def test_damage_ends_no_run(tmp_path: Path, damaged: str, again: set[str]) -> None:
    first, _ = run(tmp_path, _pipeline())
    next((tmp_path / "artefacts").glob(damaged)).write_bytes(b"9")  # of the same size: a quick check passes it
    assert run(tmp_path, _pipeline()) == (first, again)
    assert len(list((tmp_path / "artefacts").glob("*/*.corrupt-*"))) == len(again)
