"""Changes of the parts of a manifest: a promise that a step stays holds only where every digest is known."""

from __future__ import annotations

from pathlib import Path

from autolabel.config.base import Config
from autolabel.data.manifest import Manifest
from autolabel.data.parts import CLASSES, PartChange, listing_contents, manifest_contents, part_changes
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing
from autolabel.flow.changes import Why, consequences
from autolabel.flow.graph import Pipeline
from autolabel.flow.stage import Stage, StageResult
from tests.data.manifest_rows import SYNTHETIC, image_row, label_row

FINE = "train.fine"


def source(image: str = "0", mask: str = "1", classes: object = SYNTHETIC, group: str = "town") -> dict:
    label = SourceLabel("fine", "ids", "fine/a.png")
    listing = SourceListing(Path("x"), classes, (SourceImage("a", "train", group, "images/a.png", (label,)),))  # type: ignore[arg-type]
    return listing_contents(listing, {"images/a.png": image * 64, "fine/a.png": mask * 64})


def made(**label: object) -> dict:
    return manifest_contents(Manifest(SYNTHETIC, (image_row(),), (label_row(**label),)))


def test_the_image_of_a_mask_counts_as_the_mask_does() -> None:
    assert part_changes(made(), source()) == []
    for changed in (source(image="2"), source(mask="2"), source(group="city")):
        assert part_changes(made(), changed) == [PartChange(FINE, 0, 0, 1)]


def test_a_mask_that_was_converted_may_have_changed() -> None:
    converted = made(root="data")
    (change,) = part_changes(converted, source())
    assert change == PartChange(FINE, 0, 0, 0, unknown=1)
    assert not change.is_certain
    assert str(change) == "1 fine mask may have changed"
    assert part_changes(converted, source(image="2")) == [PartChange(FINE, 0, 0, 1)]


def test_the_classes_are_a_part() -> None:
    from dataclasses import replace

    other = replace(SYNTHETIC, names=("other", *SYNTHETIC.names[1:]))
    (change,) = part_changes(made(), source(classes=other))
    assert (change.part, str(change)) == (CLASSES, "the classes have changed")


def test_a_step_that_may_run_again_is_not_promised_to_stay() -> None:
    def stage(name: str, *parts: str) -> Stage:
        return Stage(
            name=name, version=1, output=name, inputs={"data": "manifest"}, run=lambda ctx: StageResult(meta={}),
            reads=lambda settings: {"data": parts},
        )  # fmt: skip

    p = Pipeline()
    manifest = Stage(name="manifest", version=1, output="manifest", inputs={}, run=lambda ctx: StageResult(meta={}))
    data = p.add("manifest", manifest, Config())
    for name, part in (("teacher", FINE), ("infer", "train.unlabelled"), ("evaluate", "val.fine")):
        p.add(name, stage(name, part), Config(), data=data)
    why = Why(parts=frozenset({"train.unlabelled"}), unsure=frozenset({FINE}))
    said = "these run again: infer; these may run again: teacher; these stay: evaluate"
    assert consequences(p, data, why) == said
    assert consequences(p, data, Why(unsure=frozenset({FINE}))) == (
        "these may run again: teacher; these stay: infer, evaluate"
    )
