"""`infer.precision = "auto"`: measured, recorded, stated, and never mixed within one artefact."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.errors import DataError
from autolabel.inference import precision as compared
from autolabel.inference.precision import Agreement, agreement
from autolabel.labels.codebook import Codebook
from autolabel.stages import infer as infer_stage
from autolabel.stages import precision
from autolabel.stages.chunk_scheduler import Chunk, ChunkRow
from autolabel.store import Artefact
from tests.stages.tiny_pipeline import Tiny, call

pytestmark = pytest.mark.xdist_group("tiny")


def test_agreement_is_that_of_a_plain_loop() -> None:
    book = Codebook(3, (0.4, 0.5, 0.9))
    one, other = np.random.default_rng(0).integers(0, book.num_codes, (2, 2, 7, 9)).astype(book.dtype)
    other[0, 0, 0] = book.invalid
    same = 0
    for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
        alike = b < book.num_codes and a // book.bins == b // book.bins
        same += alike and (a % book.bins > 1) == (b % book.bins > 1)  # bins 0 and 1 lie below 0.5
    assert 0 < same < one.size
    assert agreement(book, list(one), list(other)) == Agreement(same, one.size)
    assert agreement(book, [], []).fraction == 0


class Clock:
    """Seconds that the two measurements take, in the place of a clock."""

    def __init__(self, half: float, full: float) -> None:
        self._times = iter([0.0, half, 0.0, full])

    def __call__(self) -> float:
        return next(self._times)


@pytest.fixture
def fast_bf16(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(compared, "has_fast_bf16", lambda device: True)
    monkeypatch.setattr(precision.time, "process_time", Clock(1, 2))
    return monkeypatch


def work_of(tiny: Tiny, folder: Path) -> Path:
    for step in ("manifest", "teacher"):
        shutil.copytree(tiny.work / "artefacts" / step, folder / "artefacts" / step)
    return folder


def infer(tiny: Tiny, work: Path, *settings: str, until: str = "infer") -> tuple[Artefact, str]:
    values = ('infer.precision="auto"', "infer.agreement=0.5", *settings)
    result = call("run", tiny.file, "--work", work, "--until", until, *(f"--set={value}" for value in values))
    assert result.exit_code == 0, result.output
    found = [Artefact.open(path) for path in (work / "artefacts" / "infer").iterdir()]
    return max(found, key=lambda artefact: artefact.provenance["started"]), result.stderr


def choice(artefact: Artefact) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(artefact.read("precision.json"))
    assert found == artefact.provenance["precision"]
    assert [environment["precision"] for environment in artefact.provenance["environments"]] == [found["precision"]]
    return found


def shards(artefact: Artefact) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in artefact.entries if entry.name.endswith(".h5")}


def test_bf16_where_it_is_faster_and_agrees(tiny: Tiny, tmp_path: Path, fast_bf16: pytest.MonkeyPatch) -> None:
    made, said = infer(tiny, work_of(tiny, tmp_path), until="audit")
    found = choice(made)
    assert (found["precision"], found["wanted"], len(found["images"])) == ("bf16", 0.5, 2)
    assert 0.5 <= found["agreement"] <= 1
    shown = math.floor(10_000 * found["agreement"]) / 100
    assert f"infer: bf16: {shown:.2f} % of the labels of 2 images" in said
    assert json.loads(made.log_lines("precision.jsonl")[0]) == {"bf16": 1.0, "fp32": 2.0}
    (audit,) = (tmp_path / "artefacts" / "audit").iterdir()
    assert json.loads((audit / "data" / "audit.json").read_text())["precision"] == found
    named = work_of(tiny, tmp_path / "named")
    assert call("infer", tiny.file, "--work", named, "-q", "--set", 'infer.precision="bf16"').exit_code == 0
    (by_name,) = (named / "artefacts" / "infer").iterdir()
    assert shards(Artefact.open(by_name)) == shards(made)


def test_reads_the_network_once_and_prepares_it_once_per_format(
    tiny: Tiny, tmp_path: Path, fast_bf16: pytest.MonkeyPatch
) -> None:
    read, prepared = precision.read_network, precision.prepare_network
    done: list[str] = []
    fast_bf16.setattr(precision, "read_network", lambda *args: done.append("read") or read(*args))
    fast_bf16.setattr(
        precision, "prepare_network", lambda *args, **named: done.append(named["precision"]) or prepared(*args, **named)
    )
    infer(tiny, work_of(tiny, tmp_path))
    assert done == ["read", "bf16", "fp32"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("slow", "bf16 is not faster here"),
        ("other labels", "fewer than 100 %"),
        ("no instructions", "no instructions for bf16"),
    ],
)
def test_fp32_for_a_reason(change: str, reason: str, tiny: Tiny, tmp_path: Path, fast_bf16: pytest.MonkeyPatch) -> None:
    settings = []
    if change == "slow":
        fast_bf16.setattr(precision.time, "process_time", Clock(1.9, 2))
    elif change == "no instructions":
        fast_bf16.setattr(compared, "has_fast_bf16", lambda device: False)
    else:
        settings = ["infer.agreement=1.0"]
        fast_bf16.setattr(compared, "agreement", lambda *_: Agreement(999, 1000))
    made, said = infer(tiny, work_of(tiny, tmp_path), *settings)
    found = choice(made)
    assert found["precision"] == "fp32"
    assert reason in found["reason"]
    assert found["reason"] in said
    plain = Artefact.open(tiny.data("infer").parent)
    assert shards(made) == shards(plain)


def test_a_later_run_keeps_the_choice_whatever_the_clock_says(
    tiny: Tiny, tmp_path: Path, fast_bf16: pytest.MonkeyPatch
) -> None:
    """The artefact is set aside; other times would now choose fp32, and no clock is read."""
    first, _ = infer(tiny, work_of(tiny, tmp_path))
    fast_bf16.setattr(precision.time, "process_time", lambda: pytest.fail("measured again"))
    first.file("codes-00000.h5").write_bytes(b"damaged")
    assert call("verify", tiny.file, "--work", tmp_path, "--full", "--set-aside").exit_code != 2
    before = shards(first)
    again, _ = infer(tiny, tmp_path)
    assert shards(again) == before
    assert choice(again)["precision"] == "bf16"


def test_a_resumed_draft_keeps_the_choice(tiny: Tiny, tmp_path: Path, fast_bf16: pytest.MonkeyPatch) -> None:
    """Ended after some chunks: the rest has the same format, and the artefact is that of one run."""
    whole, _ = infer(tiny, work_of(tiny, tmp_path / "whole"))
    fast_bf16.setattr(precision.time, "process_time", lambda: pytest.fail("measured again"))
    work, write = work_of(tiny, tmp_path / "killed"), infer_stage._write

    def ends(ctx: Any, chunk: Chunk, *rest: Any) -> ChunkRow:
        if chunk.name == "codes-00001.h5":
            raise DataError("test", "the power is gone")
        return write(ctx, chunk, *rest)

    with pytest.MonkeyPatch.context() as ended:
        ended.setattr(precision.time, "process_time", Clock(1, 2))
        ended.setattr(infer_stage, "_write", ends)
        with pytest.raises(AssertionError, match="the power is gone"):
            infer(tiny, work)
    assert list(work.glob("artefacts/infer/*.partial/data/codes-00000.h5"))
    resumed, _ = infer(tiny, work)
    assert {entry.name: entry.sha256 for entry in resumed.entries} == {e.name: e.sha256 for e in whole.entries}


def test_has_fast_bf16_is_a_fact_of_the_machine() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.is_file():
        pytest.skip("needs /proc/cpuinfo")
    words = set(flags.read_text().split())
    assert compared.has_fast_bf16(torch.device("cpu")) == bool(words & {"avx512_bf16", "amx_bf16", "amx_tile"})
