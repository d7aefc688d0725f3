"""Disk space: what a step needs, checked before it begins and not after the hours until the disk is full."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.artifacts import read_manifest
from autolabel.config.schema import Experiment
from autolabel.config.sources import Data, SyntheticConfig
from autolabel.errors import AutolabelError, StoreError
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.stage import DatasetSizes, DiskEstimate, ImageCount, PreflightContext
from autolabel.store import Artefact, bytes_in

if TYPE_CHECKING:
    from autolabel.data.rows import Rows
    from autolabel.data.schema import ImageRow
    from autolabel.data.sources.base import SourceListing


def measured_sizes(artefact: Artefact) -> DatasetSizes:
    """The sizes of the images in a manifest."""
    import numpy as np

    from autolabel.data.manifest import unlabelled_images

    manifest = read_manifest(artefact)

    def counted(rows: Rows[ImageRow]) -> ImageCount:
        width, height = (rows.column(name).to_numpy().astype(np.int64) for name in ("width", "height"))
        return ImageCount(len(rows), int(width @ height))

    return DatasetSizes(
        counted(manifest.image_table), counted(unlabelled_images(manifest)), counted(manifest.split("val"))
    )


def planned_sizes(plan: SourceListing, data: Data) -> DatasetSizes:
    """The sizes before there is a manifest: the number of images, and their pixels where the settings say so."""
    fine = {image.id for image in plan.images if any(label.role == "fine" for label in image.labels)}
    train = [image for image in plan.images if image.split == "train"]
    size = data.size[0] * data.size[1] if isinstance(data, SyntheticConfig) else None

    def counted(count: int) -> ImageCount:
        return ImageCount(count, None if size is None else count * size)

    to_label = sum(image.id not in fine for image in train)
    val = sum(image.split == "val" for image in plan.images)
    return DatasetSizes(counted(len(plan.images)), counted(to_label), counted(val))


def manifest_of(node: Node, inputs: Mapping[str, Artefact]) -> Artefact | None:
    """The data's manifest among a step's inputs; None for a step that reads none."""
    names = (name for name, source in node.inputs.items() if source.stage.output == "manifest")
    return next((inputs[name] for name in names), None)


def estimate_step(node: Node, plan: SourceListing, sizes: DatasetSizes) -> DiskEstimate:
    return node.stage.disk_estimate(
        PreflightContext(node.settings, {k: v.settings for k, v in node.inputs.items()}, plan), sizes
    )


def check_disk_space(name: str, estimate: DiskEstimate, draft: Path) -> None:
    """StoreError where less disk space is free than a step still needs; what its draft holds already counts."""
    if estimate.bytes is None:
        return
    place = next(folder for folder in draft.parents if folder.is_dir())
    try:
        free = shutil.disk_usage(place).free
    except OSError:  # whoever writes there will say why
        return
    missing = estimate.bytes - bytes_in(draft)
    if missing > free:
        what = f"step {name!r} needs about {missing:,} bytes, and {free:,} are free"
        raise StoreError(place, what, "free some space, or use another --work")


def estimates(pipeline: Pipeline, experiment: Experiment, manifest: Artefact | None) -> dict[str, DiskEstimate]:
    """The items and the disk space of each step, by name; steps without an estimate are missing."""
    from autolabel.data.sources.registry import plan

    by_step: dict[str, DiskEstimate] = {}
    with suppress(AutolabelError):  # a run would say what is wrong with the data
        data = plan(experiment.data)
        sizes = planned_sizes(data, experiment.data) if manifest is None else measured_sizes(manifest)
        for node in pipeline.nodes.values():
            with suppress(AutolabelError):
                by_step[node.name] = estimate_step(node, data, sizes)
    return by_step
