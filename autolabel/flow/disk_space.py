"""Room on the disk: what a step will need, asked before it begins and not after the hours until the disk is full."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.config.schema import Data, Experiment, Synthetic
from autolabel.errors import AutolabelError, StoreError
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.stage import Ahead, Pictures, Room, Sizes
from autolabel.store import Artefact, bytes_in

if TYPE_CHECKING:
    from autolabel.data.schema import ImageRow
    from autolabel.data.sources.base import SourcePlan


def measured(artefact: Artefact) -> Sizes:
    """Of the pictures in a manifest."""
    from autolabel.data.manifest import Manifest, to_label

    manifest = Manifest.from_files(artefact.read)

    def pictures(rows: Iterable[ImageRow]) -> Pictures:
        pixels = [row.width * row.height for row in rows]
        return Pictures(len(pixels), sum(pixels))

    return Sizes(pictures(manifest.images), pictures(to_label(manifest)), pictures(manifest.split("val")))


def planned(plan: SourcePlan, data: Data) -> Sizes:
    """Before there is a manifest: how many pictures, and how large only where the settings say so."""
    fine = {image.id for image in plan.images if any(label.role == "fine" for label in image.labels)}
    train = [image for image in plan.images if image.split == "train"]
    size = data.size[0] * data.size[1] if isinstance(data, Synthetic) else None

    def pictures(count: int) -> Pictures:
        return Pictures(count, None if size is None else count * size)

    to_label = sum(image.id not in fine for image in train)
    val = sum(image.split == "val" for image in plan.images)
    return Sizes(pictures(len(plan.images)), pictures(to_label), pictures(val))


def manifest_of(node: Node, inputs: Mapping[str, Artefact]) -> Artefact | None:
    """The manifest of the data among a step's inputs; None of a step that reads none."""
    names = (name for name, source in node.inputs.items() if source.stage.output == "manifest")
    return next((inputs[name] for name in names), None)


def need(node: Node, plan: SourcePlan, sizes: Sizes) -> Room:
    return node.stage.room(Ahead(node.settings, {k: v.settings for k, v in node.inputs.items()}, plan), sizes)


def check_room(name: str, room: Room, draft: Path) -> None:
    """StoreError where the disk has less room than a step still needs; what its draft holds already counts."""
    if room.bytes is None:
        return
    place = next(folder for folder in draft.parents if folder.is_dir())
    try:
        free = shutil.disk_usage(place).free
    except OSError:  # whoever writes there will say why
        return
    missing = room.bytes - bytes_in(draft)
    if missing > free:
        what = f"step {name!r} needs about {missing:,} bytes, and {free:,} are free"
        raise StoreError(place, what, "free some space, or use another --work")


def estimates(pipeline: Pipeline, experiment: Experiment, manifest: Artefact | None) -> dict[str, Room]:
    """What each step works on and leaves on the disk, by its name; without those of which nothing can be said."""
    from autolabel.data.build import plan

    found: dict[str, Room] = {}
    with suppress(AutolabelError):  # a run would say what is wrong with the data
        data = plan(experiment.data)
        sizes = planned(data, experiment.data) if manifest is None else measured(manifest)
        for node in pipeline.nodes.values():
            with suppress(AutolabelError):
                found[node.name] = need(node, data, sizes)
    return found
