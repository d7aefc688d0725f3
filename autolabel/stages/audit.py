"""Stage audit: what the labels weigh, cover and are worth, in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autolabel.artifacts import TRAINED_ON, open_manifest, shard_index
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.hardware import usable_cores
from autolabel.stages.label import LEDGER

if TYPE_CHECKING:
    import numpy as np

    from autolabel.data.manifest import Manifest

AUDIT_FILE = "audit.json"


@dataclass(frozen=True)
class Labelled:
    """One image's maps of train ids (H, W); those it does not have are None."""

    winner: np.ndarray  # the teacher's class, whatever its probability
    bins: np.ndarray
    second: np.ndarray | None  # the second most probable class, where codes hold it
    maps: dict[str, np.ndarray | None]  # by role


def run(ctx: Context) -> StageResult:
    """Stream over the labelled images, then over the validation images for threshold evidence."""
    from autolabel.audit.coverage import ClassBalance
    from autolabel.audit.footprint import Footprint
    from autolabel.audit.leaks import leak_guard

    data, labels = open_manifest(ctx.inputs["data"]), open_manifest(ctx.inputs["labels"])
    names, index = data.classes.names, shard_index(ctx.inputs["codes"])
    footprint, balance = Footprint(len(names)), ClassBalance(names)
    for row in labels.labels:
        image = labels.image(row.image_id)
        footprint.add(image.group, num_bytes=row.bytes, width=image.width, height=image.height)
    for row in (*data.labels, *labels.labels):
        if data.image(row.image_id).split == "train":
            balance.add(row.role, row.counts)
    sizes = {entry.name: entry.size for entry in ctx.inputs["codes"].entries}
    codes_bytes = sum(sizes[shard["name"]] for shard in index["shards"] if shard["split"] == "train")
    trained_on = json.loads(ctx.inputs["model"].read(TRAINED_ON))
    result = {
        "footprint": footprint.result(codes_bytes=codes_bytes),
        "coverage": balance.result(),
        "leak": leak_guard(
            trained_on["images"], [row.sha256 for row in data.split("val")], complete=trained_on["complete"]
        ),
        **_compare(ctx, data, labels, index),
        "evidence": _evidence(ctx, data, index),
    }
    ctx.draft.write(AUDIT_FILE, json.dumps(result, indent=1, sort_keys=True).encode())
    truth = result["auto_truth"]
    meta = {"accuracy": truth and truth["accuracy"], "coverage": truth and truth["coverage"]}
    return StageResult(meta=meta)


def _compare(ctx: Context, data: Manifest, labels: Manifest, index: dict[str, Any]) -> dict[str, Any]:
    """Auto against coarse, auto and coarse against the hidden truth, and the ledger of ignored pixels."""
    from autolabel.audit.comparison import Comparison
    from autolabel.audit.coverage import IgnoredLedger

    names = data.classes.names
    pairs = {name: Comparison(names) for name in ("coarse_agreement", "auto_truth", "coarse_truth")}
    ledger = IgnoredLedger(names)
    for row in json.loads(ctx.inputs["labels"].read(LEDGER)):
        ledger.add({reason: pixels for reason, pixels in row.items() if reason != "id"})
    seen: set[str] = set()
    for item in _images(ctx, data, labels, index, split="train", roles=("auto", "coarse", "truth")):
        auto, coarse, truth = item.maps["auto"], item.maps["coarse"], item.maps["truth"]
        assert auto is not None, "every coded image has been cut"
        ledger.add_maps(auto, item.winner)
        for name, label, reference in (
            ("coarse_agreement", auto, coarse),
            ("auto_truth", auto, truth),
            ("coarse_truth", coarse, truth),
        ):
            if label is not None and reference is not None:
                pairs[name].add(label, reference)
                seen.add(name)
    return {"ignored": ledger.result(), **{name: pairs[name].result() if name in seen else None for name in pairs}}


def _evidence(ctx: Context, data: Manifest, index: dict[str, Any]) -> Any:
    """Precision and kept share at every bin edge, on images that have fine labels and trained nobody."""
    from autolabel.audit.threshold_curve import ThresholdCurve

    evidence = ThresholdCurve(data.classes.names, index["book"]["edges"])
    found = False
    for item in _images(ctx, data, data, index, split="val", roles=("fine",)):
        fine = item.maps["fine"]
        if fine is not None:
            evidence.add(item.winner, item.bins, label=fine, second=item.second)
            found = True
    return evidence.result() if found else None


def _images(
    ctx: Context, data: Manifest, labels: Manifest, index: dict[str, Any], *, split: str, roles: tuple[str, ...]
) -> Iterator[Labelled]:
    """Every coded image of a split, in order; loaded by threads, a few images ahead."""
    from autolabel.data.loaders import load_label
    from autolabel.labels.codebook import Codebook
    from autolabel.labels.shards import Shard, read_shard
    from autolabel.parallel import OrderedMap

    book = Codebook.from_dict(index["book"], ctx.inputs["codes"].path)
    roots = ctx.roots()

    def coded() -> Iterator[tuple[Shard, str]]:
        for name in (shard["name"] for shard in index["shards"] if shard["split"] == split):
            shard = read_shard(ctx.inputs["codes"].read(name), where=name)
            yield from ((shard, image_id) for image_id in shard.ids)

    def load(item: tuple[Shard, str]) -> Labelled:
        shard, image_id = item
        rows = {role: data.label(image_id, role) or labels.label(image_id, role) for role in roles}
        maps = {role: None if row is None else load_label(row, roots, data.classes) for role, row in rows.items()}
        codes = shard.codes(image_id)
        second = book.second_classes(codes) if book.second_below else None
        return Labelled(*book.classes_and_bins(codes), second, maps)

    jobs = ctx.runtime.jobs or usable_cores()
    with OrderedMap(load, coded(), workers=jobs, ahead=jobs) as images:
        for image in images:
            ctx.stop.check()
            yield image


AUDIT = Stage("audit", 1, "audit", {"data": "manifest", "model": "weights", "codes": "codes", "labels": "labels"}, run)
