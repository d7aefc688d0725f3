"""Stage label: codes -> label PNGs by table look-up. It needs no GPU; the same settings give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypedDict, cast

from autolabel.artifacts import (
    CONFIDENCE_FILE,
    EGO_MASK,
    LabelsMeta,
    LedgerRow,
    RulesMeta,
    ShardEntry,
    label_rules,
    read_manifest,
    read_shard_index,
    write_label_set,
    write_ledger,
)
from autolabel.config.schema import InferConfig, LabelConfig
from autolabel.data.parts import CLASSES, UNLABELLED, label_part
from autolabel.errors import DataError
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult
from autolabel.stages import disk_estimates
from autolabel.stages.label_rules import key_settings, read_ego_mask, rules_of, uses_coarse
from autolabel.stages.label_thresholds import choose_thresholds, fixed_thresholds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.classes import ClassSet
    from autolabel.data.loaders import ConfidenceFile
    from autolabel.data.manifest import LabelRow, Manifest
    from autolabel.labels.label_rules import LabelRules
    from autolabel.labels.label_set import LabelSummary
    from autolabel.labels.threshold import LabelledImage
    from autolabel.store import Journal


class _LabelFile(TypedDict):
    """A label that is written, as the journal keeps it."""

    id: str
    path: str
    sha256: str
    bytes: int
    counts: list[int]  # pixels per class, then ignored pixels
    mean_confidence: float | None  # of the labelled pixels
    reasons: dict[str, int]  # pixels by reason
    weights: ConfidenceFile | None


def reads(settings: LabelConfig) -> Mapping[str, tuple[str, ...]]:
    """Coarse labels, and the labels to calibrate on, only where the settings ask for them."""
    coarse = (label_part("train", "coarse"),) if uses_coarse(settings) else ()
    calibration = (label_part("val", "fine"),) if settings.threshold_on == "calibrated" else ()
    return {"data": (CLASSES, UNLABELLED, *coarse, *calibration)}


def check(ahead: PreflightContext[LabelConfig]) -> None:
    """Thresholds must be bin edges, and name classes; the libraries of codec and back-end must be there."""
    import numpy as np

    from autolabel.labels.codebook import Codebook
    from autolabel.labels.png import require_codec
    from autolabel.labels.threshold_rules import quantile_thresholds, require_reachable
    from autolabel.parallel import require_backend

    names, settings = ahead.data.classes.names, ahead.settings
    book = Codebook(len(names), ahead.input_settings("codes", InferConfig).edges)
    thresholds = fixed_thresholds(settings, names)
    rules_of(settings, names)
    if settings.ego_mask is not None:
        read_ego_mask(settings)
    if settings.threshold_on == "calibrated":
        ahead.require_labels("val", ("fine",), 'hold a few out, or set label.threshold_on = "network"')
        require_reachable(thresholds)
    else:
        book.lut(thresholds)
    if settings.threshold == "quantile":
        quantile_thresholds(np.zeros((len(names), book.bins), int), book.edges, 0.5, settings.quantile_range)
    require_codec(settings.codec)
    require_backend(ahead.runtime.backend)


def run(ctx: Context[LabelConfig]) -> StageResult:
    """Threshold every shard of images to label; one journal row per shard, so a killed run goes on where it was."""
    from autolabel.labels.label_set import FOLDER
    from autolabel.parallel import ordered_results
    from autolabel.progress import Progress
    from autolabel.store import mirror_names

    manifest, index = read_manifest(ctx.inputs["data"]), read_shard_index(ctx.inputs["codes"])
    thresholds = choose_thresholds(ctx, manifest, index)
    shards = [shard._replace(inputs=()) for shard in index.of_split("train")]
    del index  # its digests are as many as the images
    names = mirror_names({image_id: image_id for shard in shards for image_id in shard.ids}, ".png")
    journal = ctx.draft.journal("labels")
    finished = {row["shard"] for row in journal.read()}
    todo = [shard for shard in shards if shard.name not in finished]
    rules, ego = rules_of(ctx.settings, manifest.classes.names), _ego_mask(ctx)
    if ego is not None:
        ctx.draft.write(EGO_MASK, ego)
    cut = partial(
        _cut, classes=manifest.classes, lut=thresholds.lut, settings=ctx.settings, rules=label_rules(rules, ego)
    )
    tasks = (_task(ctx, manifest, shard) for shard in todo)
    with (
        Progress(total=len(shards), initial=len(finished), desc=ctx.node, unit="shard", quiet=ctx.quiet) as bar,
        ordered_results(cut, tasks, backend=ctx.runtime.backend, jobs=ctx.runtime.jobs) as results,
    ):
        for name, cuts in zip((shard.name for shard in todo), results, strict=True):
            ctx.draft.write_many((f"{FOLDER}/{names[item.id]}", item.png) for item in cuts)
            ctx.draft.write_many((f"weights/{names[item.id]}", item.confidence) for item in cuts if item.confidence)
            journal.append([{"shard": name, "rows": [_row(item, names[item.id]) for item in cuts]}])
            bar.update()
            ctx.stop.check()
    return _finish(ctx, manifest, journal, thresholds.used, rules)


def _ego_mask(ctx: Context[LabelConfig]) -> bytes | None:
    from autolabel.store import sha256_bytes

    if ctx.settings.ego_mask is None:
        return None
    data = read_ego_mask(ctx.settings)
    if sha256_bytes(data) != ctx.identity["ego_mask"]:
        raise DataError(ctx.settings.ego_mask, "changed since the run began", "run the same command again")
    return data


class _Task(NamedTuple):
    """The input for one shard of a worker that may run on another machine."""

    data: bytes
    coarse: list[tuple[LabelRow, bytes]]  # label files, where the policy asks for them


def _task(ctx: Context[LabelConfig], manifest: Manifest, shard: ShardEntry) -> _Task:
    from autolabel.data.loaders import read_verified

    ids = shard.ids if uses_coarse(ctx.settings) else ()
    rows = [row for row in (manifest.label(image_id, "coarse") for image_id in ids) if row is not None]
    coarse = [(row, read_verified(ctx.roots(), row.root, row.path, row.sha256)) for row in rows]
    return _Task(ctx.inputs["codes"].read(shard.name), coarse)


def _cut(
    task: _Task, *, classes: ClassSet, lut: NDArray[np.uint8], settings: LabelConfig, rules: LabelRules | None
) -> list[LabelledImage]:
    from autolabel.data.loaders import label_from
    from autolabel.labels.label_set import Statement
    from autolabel.labels.threshold import threshold_shard

    coarse = {row.image_id: label_from(data, row, classes) for row, data in task.coarse}
    return threshold_shard(
        task.data,
        lut,
        coarse,
        "off" if rules is not None else settings.coarse,
        confidence=settings.weights,
        codec=settings.codec,
        values=None if settings.ids == "train" else Statement(classes, settings.ids).values(),
        rules=rules,
    )


def _row(item: LabelledImage, name: str) -> _LabelFile:
    from autolabel.labels.label_set import FOLDER
    from autolabel.store import sha256_bytes

    return {
        "id": item.id,
        "path": f"{FOLDER}/{name}",
        "sha256": sha256_bytes(item.png),
        "bytes": len(item.png),
        "counts": list(item.counts),
        "mean_confidence": item.mean_confidence,
        "reasons": item.reasons,
        "weights": {"path": f"weights/{name}", "sha256": sha256_bytes(item.confidence)} if item.confidence else None,
    }


def _finish(
    ctx: Context[LabelConfig],
    manifest: Manifest,
    journal: Journal,
    thresholds: dict[str, float | None],
    rules: RulesMeta | None,
) -> StageResult:
    """The label set's own manifest (images and auto rows), its table and legend, and the ledger of reasons."""
    from autolabel.data.manifest import Manifest, label_rows
    from autolabel.data.sources.label_sets import encoding_of
    from autolabel.labels.label_set import Statement

    own = encoding_of(Statement(manifest.classes, "dataset"), manifest.classes)
    encoding = {"train": "train_ids", "dataset": own}[ctx.settings.ids]
    labels = label_rows(_label_row(row, ctx.inputs["codes"].digest, encoding) for row in _files(journal))
    images = manifest.images_of(labels.column("image_id"))
    label_set = Manifest(manifest.classes, images, labels)
    write_label_set(ctx.draft, label_set, map(_summary, _files(journal)), ctx.settings.ids)
    write_ledger(ctx.draft, (LedgerRow(row["id"], row["reasons"]) for row in _files(journal)))
    digests = {row["path"]: row["sha256"] for row in _files(journal)}
    if ctx.settings.weights:
        confidence = {row["id"]: row["weights"] for row in _files(journal) if row["weights"] is not None}
        digests |= {file["path"]: file["sha256"] for file in confidence.values()}
        CONFIDENCE_FILE.write(ctx.draft, confidence)
    pixels = sum(sum(row.counts) for row in labels)
    ignored = sum(row.counts[-1] for row in labels)
    meta = LabelsMeta(
        count=len(labels),
        bytes=sum(labels.column("bytes").to_pylist()),
        pixels=pixels,
        ignored_share=ignored / pixels if pixels else 0.0,
        threshold=ctx.settings.threshold,
        class_thresholds=ctx.settings.class_thresholds,
        threshold_on=ctx.settings.threshold_on,
        thresholds=thresholds,
        coarse=ctx.settings.coarse,
        ids=ctx.settings.ids,
    )
    if rules is not None:
        meta["rules"] = rules
    return StageResult(meta=meta, digests=digests)


def _files(journal: Journal) -> Iterator[_LabelFile]:
    """All labels in the order of the shards, in which they were cut; read again each time, for they may be many."""
    return (cast(_LabelFile, file) for row in journal.read() for file in row["rows"])


def _summary(row: _LabelFile) -> LabelSummary:
    from autolabel.labels.label_set import FOLDER, LabelSummary

    return LabelSummary(row["id"], row["path"].removeprefix(f"{FOLDER}/"), row["counts"], row["mean_confidence"])


def _label_row(row: _LabelFile, codes_digest: str, encoding: str) -> LabelRow:
    from autolabel.data.schema import LabelRow

    return LabelRow(
        image_id=row["id"],
        role="auto",
        encoding=encoding,
        root="labels",
        path=row["path"],
        sha256=row["sha256"],
        bytes=row["bytes"],
        counts=tuple(row["counts"]),
        provenance=f"cut from codes {codes_digest[:16]}",
    )


LABEL = Stage(
    name="label",
    version=4,
    output="labels",
    inputs={"data": "manifest", "codes": "codes"},
    run=run,
    key_settings=key_settings,
    reads=reads,
    check=check,
    disk_estimate=disk_estimates.label,
)
