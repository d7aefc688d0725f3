"""Stage audit: what the labels weigh, cover and are worth, in one JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from autolabel.artifacts import (
    AUDIT_FILE,
    PRECISION_FILE,
    TRAINED_ON_FILE,
    AuditMeta,
    AuditResult,
    ShardIndex,
    coarse_policies,
    labels_meta,
    read_ledger,
    read_manifest,
    read_shard_index,
)
from autolabel.config.base import Config
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.hardware import usable_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.audit.calibration import CalibrationResult
    from autolabel.audit.comparison import ComparisonResult
    from autolabel.audit.coverage import IgnoredResult
    from autolabel.audit.footprint import FootprintResult
    from autolabel.audit.leaks import LeakResult
    from autolabel.audit.shift import ShiftResult
    from autolabel.audit.threshold_curve import ThresholdCurveResult
    from autolabel.data.manifest import Manifest
    from autolabel.labels.codebook import Codebook


@dataclass(frozen=True)
class Labelled:
    """One image's maps of train ids (H, W); missing ones are None."""

    id: str
    group: str
    winner: NDArray[np.uint8]  # the teacher's class, whatever its probability
    bins: NDArray[np.integer]
    second: NDArray[np.uint8] | None  # the second most probable class, where codes hold it
    maps: dict[str, NDArray[np.uint8] | None]  # by role


class _Confidence:
    """Mean probability of each image's pixels, labelled or not, in the order of `add`."""

    def __init__(self, book: Codebook, probabilities: NDArray[np.float64] | None) -> None:
        """`probabilities` (K, B): calibrated ones; without them nothing is kept."""
        self._book, self._probabilities = book, probabilities
        self.values: list[float] = []
        self.groups: list[str] = []
        self.ids: list[str] = []

    def add(self, item: Labelled) -> None:
        from autolabel.audit.shift import mean_confidence
        from autolabel.labels.calibration import count_predicted

        pixels = count_predicted(self._book, item.winner, item.bins)
        if self._probabilities is None or not pixels.any():
            return
        self.values.append(float(mean_confidence(pixels[None], self._probabilities)[0]))
        self.groups.append(item.group)
        self.ids.append(item.id)


class _Compared(NamedTuple):
    ignored: IgnoredResult
    coarse_agreement: ComparisonResult | None
    auto_truth: ComparisonResult | None
    own_truth: ComparisonResult | None
    coarse_truth: ComparisonResult | None


def run(ctx: Context[Config]) -> StageResult:
    """Stream over the labelled images, then over the validation images for threshold evidence."""
    from autolabel.audit.coverage import ClassBalance
    from autolabel.data.manifest import train_labels

    data, labels = read_manifest(ctx.inputs["data"]), read_manifest(ctx.inputs["labels"])
    index = read_shard_index(ctx.inputs["codes"])
    balance = ClassBalance(data.classes.names)
    for row in train_labels(data, labels):
        balance.add(row.role, row.counts)
    evidence = _evidence(ctx, data, index)
    confidence = _Confidence(index.book, evidence.probabilities)
    compared = _compare(ctx, data, labels, index, confidence)
    result = AuditResult(
        footprint=_footprint(ctx, labels, index),
        coverage=balance.result(),
        leak=_leak(ctx, data),
        ignored=compared.ignored,
        coarse_agreement=compared.coarse_agreement,
        auto_truth=compared.auto_truth,
        own_truth=compared.own_truth,
        coarse_truth=compared.coarse_truth,
        evidence=evidence.curve,
        calibration=evidence.calibration,
        shift=_shift(evidence, confidence),
    )
    if PRECISION_FILE.name in ctx.inputs["codes"].names():
        result["precision"] = PRECISION_FILE.read(ctx.inputs["codes"])
    AUDIT_FILE.write(ctx.draft, result)
    return StageResult(meta=_meta(result))


def _meta(result: AuditResult) -> AuditMeta:
    from autolabel.audit.coverage import never_labelled
    from autolabel.audit.shift import unknown_groups

    truth, own = result["auto_truth"], result["own_truth"]
    return AuditMeta(
        accuracy=truth and truth["accuracy"],
        coverage=truth and truth["coverage"],
        accuracy_interval=truth and truth["accuracy_interval"],
        own_accuracy=own and own["accuracy"],
        own_coverage=own and own["coverage"],
        own_accuracy_interval=own and own["accuracy_interval"],
        never_labelled=never_labelled(result["coverage"]),
        unknown_groups=unknown_groups(result["shift"]),
    )


def _footprint(ctx: Context[Config], labels: Manifest, index: ShardIndex) -> FootprintResult:
    from autolabel.audit.footprint import Footprint

    footprint = Footprint(labels.classes.num_classes)
    for image, row in zip(labels.images_of(labels.label_table.column("image_id")), labels.labels, strict=True):
        footprint.add(image.group, num_bytes=row.bytes, width=image.width, height=image.height)
    sizes = {entry.name: entry.size for entry in ctx.inputs["codes"].entries}
    return footprint.result(codes_bytes=sum(sizes[shard.name] for shard in index.of_split("train")))


def _leak(ctx: Context[Config], data: Manifest) -> LeakResult:
    """Validation images that the teacher was trained on."""
    from autolabel.audit.leaks import leak_guard

    trained_on = TRAINED_ON_FILE.read(ctx.inputs["model"])
    val = [row.sha256 for row in data.split("val")]
    return leak_guard(trained_on["images"], val, complete=trained_on["complete"])


def _compare(
    ctx: Context[Config], data: Manifest, labels: Manifest, index: ShardIndex, confidence: _Confidence
) -> _Compared:
    """Auto against coarse, auto and coarse against the hidden truth, and the ledger of ignored pixels.

    Where coarse labels fill, the teacher's own pixels are those outside of the coarse label; else all are its own.
    """
    import numpy as np

    from autolabel.audit.comparison import Comparison
    from autolabel.audit.coverage import IgnoredLedger
    from autolabel.classes import IGNORE

    names = data.classes.names
    pairs = {name: Comparison(names) for name in ("coarse_agreement", "auto_truth", "own_truth", "coarse_truth")}
    filled = np.zeros(256, bool)
    policies = coarse_policies(labels_meta(ctx.inputs["labels"]), len(names))
    filled[: len(names)] = [policy == "fill" for policy in policies]
    ledger = IgnoredLedger(names)
    for row in read_ledger(ctx.inputs["labels"]):
        ledger.add(row.pixels)
    seen: set[str] = set()
    for item in _images(ctx, data, labels, index, split="train", roles=("auto", "coarse", "truth")):
        auto, coarse, truth = item.maps["auto"], item.maps["coarse"], item.maps["truth"]
        assert auto is not None, "every coded image has been cut"
        ledger.add_maps(auto, item.winner)
        confidence.add(item)
        own = np.where(filled[coarse], np.uint8(IGNORE), auto) if coarse is not None else auto
        for name, label, reference in (
            ("coarse_agreement", auto, coarse),
            ("auto_truth", auto, truth),
            ("own_truth", own, truth),
            ("coarse_truth", coarse, truth),
        ):
            if label is not None and reference is not None:
                pairs[name].add(label, reference, group=item.group)
                seen.add(name)
    results = {name: pair.result() if name in seen else None for name, pair in pairs.items()}
    return _Compared(ledger.result(), **results)


class _Evidence(NamedTuple):
    """`counts` (N, 3, K, B): predicted, labelled and right pixels of each held-out image, by class and bin."""

    curve: ThresholdCurveResult | None
    calibration: CalibrationResult | None
    probabilities: NDArray[np.float64] | None = None  # (K, B) calibrated
    counts: NDArray[np.float64] | None = None
    groups: tuple[str, ...] = ()


def _evidence(ctx: Context[Config], data: Manifest, index: ShardIndex) -> _Evidence:
    """Precision and fraction kept at every bin edge, and how right the confidence is; on images that trained nobody."""
    import numpy as np

    from autolabel.audit.calibration import calibration_result
    from autolabel.audit.threshold_curve import ThresholdCurve
    from autolabel.labels.calibration import CellCounts, calibrate, count_cells, count_predicted

    counts, groups = [], []
    curve = ThresholdCurve(data.classes.names, index.book.edges)
    halves = CellCounts(index.book), CellCounts(index.book)
    coded = [image_id for shard in index.of_split("val") for image_id in shard.ids]
    total, num_images = sum(data.label(image_id, "fine") is not None for image_id in coded), 0
    for item in _images(ctx, data, data, index, split="val", roles=("fine",)):
        fine = item.maps["fine"]
        if fine is not None:
            curve.add(item.winner, item.bins, label=fine, second=item.second)
            halves[2 * num_images >= total].add(item.winner, item.bins, fine)
            predicted = count_predicted(index.book, item.winner, item.bins)
            counts.append((predicted, *count_cells(index.book, item.winner, item.bins, fine)))
            groups.append(item.group)
            num_images += 1
    if not num_images:
        return _Evidence(None, None)
    if not (halves[0].pixels.any() or halves[1].pixels.any()):
        return _Evidence(curve.result(), None)
    probabilities = calibrate(halves[0].merged(halves[1]))
    calibration = calibration_result(halves, data.classes.names)
    return _Evidence(curve.result(), calibration, probabilities, np.array(counts), tuple(groups))


def _shift(evidence: _Evidence, confidence: _Confidence) -> ShiftResult | None:
    """The predicted accuracy of the images to label, from that of the held-out ones on their labelled pixels."""
    import numpy as np

    from autolabel.audit.shift import held_out_images, shift_result

    if evidence.counts is None or evidence.probabilities is None or not confidence.values:
        return None
    predicted, labelled, right = evidence.counts.swapaxes(0, 1)
    held_out = held_out_images(predicted, labelled, right, evidence.probabilities, evidence.groups)
    return shift_result(held_out, (np.array(confidence.values), confidence.groups, confidence.ids))


def _images(
    ctx: Context[Config], data: Manifest, labels: Manifest, index: ShardIndex, *, split: str, roles: tuple[str, ...]
) -> Iterator[Labelled]:
    """Every coded image of a split, in order; loaded by threads, a few images ahead."""
    from autolabel.data.loaders import load_label
    from autolabel.labels.shards import Shard, read_shard
    from autolabel.parallel import OrderedMap

    book, roots = index.book, ctx.roots()

    def coded() -> Iterator[tuple[Shard, str]]:
        for entry in index.of_split(split):
            shard = read_shard(ctx.inputs["codes"].read(entry.name), where=entry.name)
            yield from ((shard, image_id) for image_id in shard.ids)

    def load(item: tuple[Shard, str]) -> Labelled:
        shard, image_id = item
        rows = {role: data.label(image_id, role) or labels.label(image_id, role) for role in roles}
        maps = {role: None if row is None else load_label(row, roots, data.classes) for role, row in rows.items()}
        codes = shard.codes(image_id)
        second = book.second_classes(codes) if book.second_below else None
        return Labelled(image_id, data.image(image_id).group, *book.classes_and_bins(codes), second, maps)

    jobs = ctx.runtime.jobs or usable_cores()
    with OrderedMap(load, coded(), workers=jobs, ahead=jobs) as images:
        for image in images:
            ctx.stop.check()
            yield image


AUDIT = Stage(
    name="audit",
    version=5,
    output="audit",
    inputs={"data": "manifest", "model": "weights", "codes": "codes", "labels": "labels"},
    run=run,
)
