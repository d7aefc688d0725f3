"""A step that cannot fit on the disk is refused before it begins, with the bytes needed."""

from __future__ import annotations

import os
import subprocess
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolabel.artifacts import write_manifest
from autolabel.config.schema import Experiment, LabelConfig
from autolabel.config.sources import FolderConfig
from autolabel.data.manifest import Manifest
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing
from autolabel.data.sources.registry import plan
from autolabel.errors import DataError, StoreError
from autolabel.flow.disk_space import check_disk_space, estimates, measured_sizes, planned_sizes
from autolabel.flow.graph import Pipeline
from autolabel.flow.stage import Context, DatasetSizes, DiskEstimate, PreflightContext, Stage, StageResult
from autolabel.store import Artefact, open_draft
from tests.data.manifest_rows import SYNTHETIC, K, image_row, label_row
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


def listing() -> SourceListing:
    """Three train images, of which two are to be labelled, and one to validate on."""
    fine, coarse = (SourceLabel(role, "ids", f"{role}.png") for role in ("fine", "coarse"))
    rows = (("a", "train", (fine, coarse)), ("b", "train", (coarse,)), ("c", "train", ()), ("d", "val", (fine,)))
    return SourceListing(
        Path("x"), SYNTHETIC, tuple(SourceImage(name, split, "", f"{name}.png", labels) for name, split, labels in rows)
    )


def test_images_of_a_folder_have_no_size_before_there_is_a_manifest(tmp_path: Path) -> None:
    data = FolderConfig(source="folder", root=tmp_path)
    assert planned_sizes(listing(), data) == ((4, None), (2, None), (1, None))


def in_manifest(folder: Path) -> Artefact:
    """The images of `listing`, of 10 x 1, 10 x 2, ... pixels."""
    images = [
        image_row(image.id, split=image.split, width=10, height=number)
        for number, image in enumerate(listing().images, 1)
    ]
    counts = {image.id: (image.width * image.height,) + (0,) * K for image in images}
    labels = [
        label_row(image.id, label.role, counts=counts[image.id]) for image in listing().images for label in image.labels
    ]
    draft = open_draft(folder, "0" * 16)
    write_manifest(draft, Manifest(SYNTHETIC, tuple(images), tuple(labels)))
    return draft.commit(meta={}, provenance={})


def test_images_of_a_manifest(tmp_path: Path) -> None:
    assert measured_sizes(in_manifest(tmp_path)) == ((4, 100), (2, 50), (1, 40))


def test_estimates_of_all_steps(tmp_path: Path) -> None:
    """Steps without an estimate are left out, and data that cannot be listed leave nothing."""
    asked: list[PreflightContext] = []

    def per_pixel(context: PreflightContext, sizes: DatasetSizes) -> DiskEstimate:
        asked.append(context)
        return DiskEstimate(sizes.unlabelled.images, sizes.unlabelled.pixels)

    def unknown(context: PreflightContext, sizes: DatasetSizes) -> DiskEstimate:
        raise DataError("x", "is gone")

    p = build()
    for name, estimate in (("codes", per_pixel), ("odd", unknown), ("last", per_pixel)):
        p.add(name, replace(FILTER, disk_estimate=estimate), LabelConfig(), numbers=p.nodes["numbers"])
    found = estimates(p, EXPERIMENT, in_manifest(tmp_path))
    assert found == dict.fromkeys(build().nodes, (4, 1004000)) | {"codes": (2, 50), "last": (2, 50)}
    assert asked[0].inputs == {"numbers": p.nodes["numbers"].settings}
    data = EXPERIMENT.data
    pixels = data.num_coarse * data.size[0] * data.size[1]
    assert estimates(p, EXPERIMENT, None)["codes"] == (data.num_coarse, pixels)
    missing = Experiment(name="x", data=FolderConfig(source="folder", root=tmp_path / "missing"))
    assert estimates(p, missing, None) == {}


def test_a_step_counts_the_images_of_the_manifest_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two manifests in turn: a fused one may hold fewer images."""
    seen: list[DatasetSizes] = []

    def estimate(context: PreflightContext, sizes: DatasetSizes) -> DiskEstimate:
        seen.append(sizes)
        return DiskEstimate(1, 1)

    def write(manifest: Manifest) -> Callable[[Context], StageResult]:
        def make(context: Context) -> StageResult:
            write_manifest(context.draft, manifest)
            return StageResult(meta={})

        return make

    p = Pipeline()
    for name, rows in (("a", 2), ("b", 3)):
        images = tuple(image_row(f"{n}") for n in range(rows))
        stage = Stage(name=name, version=1, output="manifest", inputs={}, run=write(Manifest(SYNTHETIC, images, ())))
        data = p.add(name, stage, LabelConfig())
        user = replace(FILTER, inputs={"data": "manifest"}, disk_estimate=estimate, run=lambda c: StageResult(meta={}))
        for number in range(2):
            p.add(f"{name}{number}", user, LabelConfig(threshold=number / 2), data=data)
    read: list[Artefact] = []

    def measured(artefact: Artefact) -> DatasetSizes:
        read.append(artefact)
        return measured_sizes(artefact)

    monkeypatch.setattr("autolabel.flow.runner.measured_sizes", measured)
    runner(tmp_path)[0].run(p, list(p.nodes.values()))
    assert [sizes.all for sizes in seen] == [(2, 24), (2, 24), (3, 36), (3, 36)]
    assert len(read) == 2, "each manifest is read once, for it may be large"


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


def test_the_refusal_names_the_disk_and_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, 10)
    with pytest.raises(StoreError) as error:
        check_disk_space("x", DiskEstimate(1, 11), tmp_path / "not" / "there" / "x.partial")
    said = "step 'x' needs about 11 bytes, and 10 are free; free some space, or use another --work"
    assert str(error.value) == f"{tmp_path}: {said}"
    check_disk_space("x", DiskEstimate(1, 10), tmp_path / "x.partial")


def test_a_disk_that_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any) -> Any:
        raise PermissionError(13, "no")

    monkeypatch.setattr(os, "statvfs", refuse)
    check_disk_space("x", DiskEstimate(1, 10**18), tmp_path / "x.partial")
