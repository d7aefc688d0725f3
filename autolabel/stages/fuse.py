"""Stage fuse: which label of which image a student learns from."""

from __future__ import annotations

from collections import Counter

from autolabel.artifacts import FusedMeta, read_manifest, write_manifest
from autolabel.config.schema import FuseConfig
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult


def check(ahead: PreflightContext[FuseConfig]) -> None:
    """Some image must have a label of one of the layers; auto labels come later."""
    if "auto" not in ahead.settings.layers:
        ahead.require_labels("train", ahead.settings.layers, "choose other layers for fuse.layers")


def run(ctx: Context[FuseConfig]) -> StageResult:
    """Write a manifest with one label an image: the first of the layers that the image has."""
    from autolabel.data.manifest import Manifest, training_rows

    data = read_manifest(ctx.inputs["data"])
    auto = read_manifest(ctx.inputs["labels"]).labels if "labels" in ctx.inputs else ()
    everything = Manifest(data.classes, data.images, (*data.labels, *auto))
    pairs = training_rows(everything, ctx.settings.layers)
    fused = Manifest(data.classes, tuple(image for image, _ in pairs), tuple(label for _, label in pairs))
    write_manifest(ctx.draft, fused)
    layers = Counter(label.role for _, label in pairs)
    return StageResult(meta=FusedMeta(images=len(pairs), layers=dict(sorted(layers.items()))))


FUSE = Stage(
    name="fuse",
    version=1,
    output="fused",
    inputs={"data": "manifest", "labels?": "labels"},
    run=run,
    check=check,
)
