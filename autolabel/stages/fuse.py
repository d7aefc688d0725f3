"""Stage fuse: which label of which image a student learns from."""

from __future__ import annotations

from collections import Counter

from autolabel.artifacts import open_manifest, require_labels
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult


def check(ahead: PreflightContext) -> None:
    """Some image must have one of the layers; auto labels are not there yet."""
    if "auto" not in ahead.settings.layers:
        require_labels(ahead.data, "train", ahead.settings.layers, "choose other layers for fuse.layers")


def run(ctx: Context) -> StageResult:
    """A manifest with one label an image: the first of the wanted layers that the image has."""
    from autolabel.data.manifest import Manifest, training_rows

    data = open_manifest(ctx.inputs["data"])
    auto = open_manifest(ctx.inputs["labels"]).labels if "labels" in ctx.inputs else ()
    everything = Manifest(data.classes, data.images, (*data.labels, *auto))
    pairs = training_rows(everything, ctx.settings.layers)
    fused = Manifest(data.classes, tuple(image for image, _ in pairs), tuple(label for _, label in pairs))
    for name, content in fused.to_files().items():
        ctx.draft.write(name, content)
    layers = Counter(label.role for _, label in pairs)
    return StageResult(meta={"images": len(pairs), "layers": dict(sorted(layers.items()))})


FUSE = Stage("fuse", 1, "fused", {"data": "manifest", "labels?": "labels"}, run, check=check)
