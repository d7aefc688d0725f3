"""A part of the hostile files of `make soak`; and that the judge sees what it is to see."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from autolabel.errors import DataError, StoreError
from autolabel.labels.shards import read_shard
from autolabel.store import open_draft
from tests.faults.cabinet import cabinet, shard
from tests.faults.fault_hostile_files import run
from tests.faults.hostile import CANARY, HARMLESS, Hostile, laid, meet
from tests.faults.hostile_names import run as run_names

KEY = "a" * 64


@pytest.mark.slow
def test_hostile_files_do_no_harm(ram: Path) -> None:
    tally = run(150, 0, ram)
    assert tally.tried > 150
    assert not tally.bad, "\n".join(tally.bad)


def test_code_that_is_run_is_found(ram: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "autolabel.cli.import_weights.read_user_file", lambda file, *_: pickle.loads(file.read_bytes()) or b""
    )
    evil = pickle.dumps(_Touch())
    arguments = ("import-weights", "thing", "--out", "out")
    assert any("its code was run" in line for line in meet(Hostile("x", laid(thing=evil), arguments), ram / "case"))


class _Touch:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {CANARY}",)


def test_a_refusal_where_none_should_be_is_found(ram: Path) -> None:
    case = Hostile("x", laid(thing=b"nothing"), ("cut", "thing", "--out", "out", "-q"), HARMLESS)
    assert any("exit code 3" in line for line in meet(case, ram / "case"))


@pytest.mark.slow
def test_a_raw_name_in_the_report_is_found(ram: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.report.build.clean", lambda name: name)
    assert any("stands in the report" in line for line in run_names(cabinet(ram / "things"), ram / "names").bad)


@pytest.mark.parametrize("place", ["artefacts", "artefacts/step"])
def test_a_draft_is_not_made_behind_a_link(tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a symbolic link"):
        open_draft(tmp_path / "artefacts" / "step", KEY)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_shard_is_judged_before_it_is_decoded(tmp_path: Path) -> None:
    good = read_shard(shard())
    good.check()
    file = tmp_path / "x.h5"
    file.write_bytes(shard())
    with h5py.File(file, "r+") as opened:
        opened["images/000000"].attrs["id"] = np.int64(7)
    with pytest.raises(DataError, match="id is not text"):
        read_shard(file)
