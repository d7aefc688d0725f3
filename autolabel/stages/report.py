"""Stage report: one HTML file a person wants to read."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from autolabel import __version__
from autolabel.artifacts import (
    AUDIT_FILE,
    COMPARISON_FILE,
    EVALUATION_FILE,
    REPORT_PAGE,
    AuditResult,
    TrainingCurve,
    count_corrected,
    evaluation_meta,
    labels_meta,
    manifest_meta,
    read_image_counts,
    read_manifest,
    read_network,
    training_curve,
)
from autolabel.config.schema import ReportConfig
from autolabel.flow.advice import FEW_IMAGES, few_images
from autolabel.flow.stage import Context, Stage, StageResult, input_group
from autolabel.hardware import pin_threads, resolve_device
from autolabel.stages import disk_estimates
from autolabel.stages.foreign import is_foreign

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.schema import ImageRow
    from autolabel.report.data import AttentionExample, CorrectedSet, Example, NextStep, Scores, StageRecord
    from autolabel.store import Artefact


_WORST_IMAGES = 3
_ORDER = (
    "data",
    "model",
    "codes",
    "labels",
    "audit",
    "comparisons",
    "fused",
    "models",
    "evaluations",
)  # of "What was run"


def run(ctx: Context[ReportConfig]) -> StageResult:
    """Gather the audit, the evaluations and some images, and render the page."""
    from autolabel.report.build import render_report
    from autolabel.report.data import ReportData

    data, labels = read_manifest(ctx.inputs["data"]), read_manifest(ctx.inputs["labels"])
    audit = AUDIT_FILE.read(ctx.inputs["audit"])
    rows = _choose(labels, ctx.settings.images)
    experiment = ctx.experiment
    page = render_report(
        ReportData(
            title=experiment.name,
            subtitle=_subtitle(ctx),
            names=data.classes.names,
            palette=data.classes.palette,
            scores=_scores(ctx),
            examples=tuple(_example(ctx, data, labels, row) for row in rows),
            attention=_attention(ctx, rows[:2]),
            coverage=audit["coverage"],
            ignored=audit["ignored"],
            coarse_agreement=audit["coarse_agreement"],
            auto_truth=audit["auto_truth"],
            own_truth=audit["own_truth"],
            coarse_truth=audit["coarse_truth"],
            evidence=audit["evidence"],
            calibration=audit["calibration"],
            shift=audit["shift"],
            label_bytes=_label_bytes(data, labels),
            **_thresholds(ctx.inputs["labels"]),
            footprint=audit["footprint"],
            changes={name: COMPARISON_FILE.read(made) for name, made in ctx.group("comparisons").items()},
            curves=_curves(ctx),
            **_worst(ctx, data),
            labels_link=f"../../../{_folder(ctx.inputs['labels'])}",
            labels_folder=f"artefacts/{_folder(ctx.inputs['labels'])}",
            corrected=_corrected(ctx),
            next_steps=_next_steps(ctx),
            warnings=_warnings(ctx, audit),
            stages=_stages(ctx),
            settings=_settings(ctx),
            versions={"autolabel": __version__, **{name: version(name) for name in ("torch", "numpy")}},
        )
    )
    ctx.draft.write(REPORT_PAGE, page)
    return StageResult(meta={})


def _thresholds(labels: Artefact) -> dict[str, Any]:
    """The thresholds on the network's own number; where a rule chose them, each class has its own."""
    meta = labels_meta(labels)
    if meta["threshold_on"] == "network" and not isinstance(meta["threshold"], str):
        return {"threshold": meta["threshold"], "class_thresholds": meta["class_thresholds"]}
    return {"class_thresholds": {name: edge for name, edge in meta["thresholds"].items() if edge is not None}}


def _label_bytes(data: Manifest, labels: Manifest) -> dict[str, int]:
    """Bytes on disk of the labels of training images, by label layer."""
    from autolabel.data.manifest import train_labels

    found: dict[str, int] = {}
    for row in train_labels(data, labels):
        found[row.role] = found.get(row.role, 0) + row.bytes
    return found


def _warnings(ctx: Context[ReportConfig], audit: AuditResult) -> tuple[str, ...]:
    from autolabel.audit.coverage import never_labelled
    from autolabel.audit.shift import unknown_groups

    missing = never_labelled(audit["coverage"])
    warning = f"The auto labels hold not one pixel of: {', '.join(missing)}." if missing else None
    unknown = unknown_groups(audit["shift"])
    shift = f"The teacher does not know images like those of: {', '.join(unknown)}." if unknown else None
    val_images = (evaluation_meta(made)["images"] for made in ctx.group("evaluations").values())
    few = few_images(min(val_images, default=FEW_IMAGES))
    return tuple(filter(None, [_leak(ctx, audit), warning, few, shift]))


def _leak(ctx: Context[ReportConfig], audit: AuditResult) -> str | None:
    """The audit's warning. ImageNet weights have seen no mask of the user's; "What was run" names them."""
    leak, node = audit["leak"], ctx.sources["model"]
    while "initial" in node.inputs:  # a student that started from its teacher's weights
        node = node.inputs["initial"]
    from_imagenet = getattr(node.settings, "weights", None) == "imagenet"
    return None if from_imagenet and not leak["leaked"] else leak["warning"]


def _curves(ctx: Context[ReportConfig]) -> dict[str, TrainingCurve]:
    """The curve of each network that was trained, in the order of the evaluations."""
    curves = {name: training_curve(model) for name, model in ctx.group("models").items()}
    return {name: curve for name, curve in curves.items() if curve is not None}


def _folder(artefact: Artefact) -> str:
    """The folder of its files, below that of all artefacts."""
    return f"{artefact.path.parent.name}/{artefact.path.name}/data/"


def _corrected(ctx: Context[ReportConfig]) -> CorrectedSet | None:
    """The corrected labels of the last student; None where people corrected nothing."""
    from autolabel.report.data import CorrectedSet

    fused = next(reversed(ctx.group("fused").values()), None)
    if fused is None or (count := count_corrected(fused)) is None:
        return None
    folder = _folder(fused)
    return CorrectedSet(count.images, count.pixels, f"../../../{folder}", f"artefacts/{folder}")


def _next_steps(ctx: Context[ReportConfig]) -> tuple[NextStep, ...]:
    from autolabel.report.data import NextStep

    network = list(ctx.group("models").values() or [ctx.inputs["model"]])[-1].path
    teacher = f"WORK/artefacts/{network.parent.name}/{network.name}"
    return (
        NextStep("Label new images", f"autolabel predict --teacher {teacher} IMAGES --out new-labels"),
        NextStep("See what other thresholds keep, and how much of it is right", "autolabel thresholds EXPERIMENT"),
        NextStep("Ask why a pixel has its label", "autolabel why EXPERIMENT IMAGE X,Y"),
    )


def _worst(ctx: Context[ReportConfig], data: Manifest) -> dict[str, Any]:
    """The val images on which the last network has the fewest pixels right, with its predictions."""
    import numpy as np

    from autolabel.data.loaders import load_image, load_label
    from autolabel.data.manifest import val_rows
    from autolabel.evaluation.intervals import accuracy_of
    from autolabel.inference.predictor import Predictor
    from autolabel.report.data import WorstImage

    models = ctx.group("models")
    if not models:
        return {}
    name = list(models)[-1]
    rows = val_rows(data)
    counts = read_image_counts(ctx.group("evaluations")[name])
    right = accuracy_of(counts.astype(np.float64))  # NaN, which sorts last, without a labelled pixel
    worst = [int(i) for i in np.argsort(right, kind="stable")[:_WORST_IMAGES] if right[i] < 1]
    if not worst or len(counts) != len(rows):
        return {}
    model, card = read_network(models[name])
    scales = ctx.experiment.evaluate.scales
    predictor = Predictor(model, card, scales=scales, device=resolve_device(ctx.runtime.device))
    found = []
    for index in worst:
        row, label = rows[index]
        image = load_image(row, ctx.roots())
        fine = load_label(label, ctx.roots(), data.classes)
        found.append(WorstImage(row.id, float(right[index]), image, fine, predictor.train_ids(image)))
    return {"worst": tuple(found), "worst_network": name}


def _subtitle(ctx: Context[ReportConfig]) -> str:
    meta = manifest_meta(ctx.inputs["data"])
    images = ", ".join(f"{count} {split}" for split, count in meta["images"].items())
    return f"source {ctx.experiment.data.source}: {images} images; pipeline {ctx.experiment.pipeline}"


def _settings(ctx: Context[ReportConfig]) -> dict[str, object]:
    """The experiment without what differs from machine to machine: the page is the same wherever it is made."""
    initial = {"weights", "huggingface"}
    return ctx.experiment.model_dump(
        mode="json", exclude={"runtime": True, "data": {"root"}, "teacher": initial, "student": initial}
    )


def _choose(labels: Manifest, count: int) -> list[ImageRow]:
    """Images whose labels show the most classes, spread over the set: one from each of `count` equal parts."""
    variety = {row.image_id: sum(n > 0 for n in row.counts[:-1]) for row in labels.labels}
    images = labels.images
    parts = [images[i * len(images) // count : (i + 1) * len(images) // count] for i in range(count)]
    return [max(part, key=lambda row: variety[row.id]) for part in parts if part]


def _example(ctx: Context[ReportConfig], data: Manifest, labels: Manifest, row: ImageRow) -> Example:
    from autolabel.data.loaders import load_image, load_label
    from autolabel.report.data import Example

    roots = ctx.roots()
    truth = data.label(row.id, "truth")
    maps = {
        name: load_label(label, roots, data.classes) if label is not None else None
        for name, label in (
            ("coarse", data.label(row.id, "coarse")),
            ("auto", labels.label(row.id, "auto")),
            ("reference", truth or data.label(row.id, "fine")),
        )
    }
    name = "Hidden truth" if truth is not None else "Fine label"
    return Example(row.id, load_image(row, roots), maps["coarse"], maps["auto"], maps["reference"], name)


def _attention(ctx: Context[ReportConfig], rows: list[ImageRow]) -> tuple[AttentionExample, ...]:
    """The teacher's prediction and attention at each scale (Figure 5 of the method)."""
    from autolabel.data.loaders import load_image
    from autolabel.inference.predictor import Predictor
    from autolabel.report.data import AttentionExample, ScaleView

    if is_foreign(ctx.inputs["model"]):
        return ()
    model, card = read_network(ctx.inputs["model"])
    pin_threads(ctx.runtime.threads)
    scales = ctx.experiment.infer.scales
    predictor = Predictor(model, card, scales=scales, device=resolve_device(ctx.runtime.device))
    examples = []
    for row in rows if len(scales) > 1 else []:
        image = load_image(row, ctx.roots())
        details = predictor.details(image)
        views = tuple(ScaleView(s, details.labels[s], details.attention[s]) for s in sorted(scales))
        examples.append(AttentionExample(row.id, image, views, predictor.train_ids(image)))
    return tuple(examples)


def _scores(ctx: Context[ReportConfig]) -> tuple[Scores, ...]:
    """Teacher first, then the students in the order of the pipeline."""
    from autolabel.report.data import Scores

    scales = ", ".join(f"{scale:g}" for scale in ctx.experiment.evaluate.scales)
    evaluated = scales + (" with flip" if ctx.experiment.evaluate.flip else "")
    scores = []
    sources = input_group(ctx.sources, "evaluations")
    for name, made in ctx.group("evaluations").items():
        is_teacher = sources[name].inputs["model"].stage.name == "teacher"
        scores.append(
            Scores(
                name=name,
                role="teacher" if is_teacher else "student",
                trained_on=evaluation_meta(made)["trained_on"],
                evaluated=evaluated,
                result=EVALUATION_FILE.read(made),
            )
        )
    return tuple(scores)


def _stages(ctx: Context[ReportConfig]) -> tuple[StageRecord, ...]:
    from autolabel.report.data import StageRecord

    place = {name: position for position, name in enumerate(_ORDER)}
    ordered = sorted(ctx.inputs, key=lambda name: place[name.partition(".")[0]])
    return tuple(
        StageRecord(stage=name, key=artefact.path.name, digest=artefact.digest, note=_origin(artefact))
        for name, artefact in {ctx.sources[name].name: ctx.inputs[name] for name in ordered}.items()
    )


def _origin(artefact: Artefact) -> str:
    """A note on the source of a network's first weights and their licence; empty if there is none."""
    from autolabel.models.pretrained import origin

    source = origin(artefact.meta)
    return f"started from {source}" if source else ""


REPORT = Stage(
    name="report",
    version=7,
    output="report",
    inputs={
        "data": "manifest",
        "model": "weights",
        "codes": "codes",
        "labels": "labels",
        "audit": "audit",
        "fused.*": "fused",
        "models.*": "weights",
        "evaluations.*": "evaluation",
        "comparisons.*": "comparison",
    },
    run=run,
    disk_estimate=disk_estimates.report,
)
