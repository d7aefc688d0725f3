"""A step that cannot fit on the disk is refused before it begins, with the bytes needed."""

from __future__ import annotations

import os
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolabel.config.schema import LabelConfig
from autolabel.data.sources.registry import plan
from autolabel.errors import StoreError
from autolabel.flow.disk_space import check_disk_space, planned_sizes
from autolabel.flow.stage import DatasetSizes, DiskEstimate, PreflightContext
from tests.flow.small import EXPERIMENT, FILTER, build, runner


def fake(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    about = namedtuple("About", "f_frsize f_blocks f_bfree f_bavail")(1, 10**15, free, free)
    monkeypatch.setattr(os, "statvfs", lambda path: about)


def test_it_is_refused_with_the_bytes_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, seen = build(), []

    def estimate(ahead: PreflightContext, sizes: DatasetSizes) -> DiskEstimate:
        seen.append(sizes)
        return DiskEstimate(sizes.all.images, 5_000_000_000)

    big = replace(FILTER, disk_estimate=estimate)
    pipeline.add("big", big, LabelConfig(), numbers=pipeline.nodes["numbers"])
    machine, said = runner(tmp_path)
    fake(monkeypatch, 4_000_000_000)
    with pytest.raises(StoreError, match="'big' needs about 5,000,000,000 bytes, and 4,000,000,000 are free"):
        machine.run(pipeline, [pipeline.nodes["big"]])
    assert any("numbers: done" in line for line in said)
    assert not (tmp_path / "artefacts" / "big").exists()
    assert seen[-1] == planned_sizes(plan(EXPERIMENT.data), EXPERIMENT.data)
    fake(monkeypatch, 5_000_000_000)
    runner(tmp_path)[0].run(pipeline, [pipeline.nodes["big"]])


def test_what_a_draft_holds_need_not_fit_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = tmp_path / "x.partial"
    (draft / "data").mkdir(parents=True)
    (draft / "data" / "done").write_bytes(bytes(600))
    fake(monkeypatch, 500)
    check_disk_space("x", DiskEstimate(1, 1000), draft)
    check_disk_space("x", DiskEstimate(1, None), draft)
    with pytest.raises(StoreError, match="needs about 501 bytes, and 500 are free"):
        check_disk_space("x", DiskEstimate(1, 1101), draft)


def test_images_before_there_is_a_manifest() -> None:
    data = EXPERIMENT.data
    sizes = planned_sizes(plan(data), data)
    pixels = data.size[0] * data.size[1]
    assert sizes.unlabelled == (data.num_coarse, data.num_coarse * pixels)
    assert sizes.val == (data.num_val, data.num_val * pixels)
    assert sizes.all.images == data.num_fine + data.num_coarse + data.num_val


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no disk of 512 kB can be mounted: {mounted.stderr.decode(errors='replace').strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_small(small_disk: Path) -> None:
    pipeline = build()
    with pytest.raises(StoreError, match=r"needs about [\d,]+ bytes, and [\d,]+ are free"):
        runner(small_disk)[0].run(pipeline, [pipeline.nodes["numbers"]])
    assert not list(small_disk.iterdir())


def test_a_disk_that_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any) -> Any:
        raise PermissionError(13, "no")

    monkeypatch.setattr(os, "statvfs", refuse)
    check_disk_space("x", DiskEstimate(1, 10**18), tmp_path / "x.partial")
