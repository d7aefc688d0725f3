"""Stage report: one HTML file a person wants to read."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from autolabel.artifacts import open_manifest, open_model
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.hardware import pin_threads, resolve_device
from autolabel.stages import disk_estimates
from autolabel.stages.audit import AUDIT_FILE
from autolabel.stages.compare import COMPARISON_FILE
from autolabel.stages.evaluate import EVALUATION_FILE

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.schema import ImageRow
    from autolabel.report.data import AttentionExample, Example, Scores
    from autolabel.store import Artefact

REPORT_FILE = "report.html"


def run(ctx: Context) -> StageResult:
    """Gather the audit, the evaluations and some pictures, and render the page."""
    from autolabel.report.build import render_report
    from autolabel.report.data import ReportData

    data, labels = open_manifest(ctx.inputs["data"]), open_manifest(ctx.inputs["labels"])
    audit = json.loads(ctx.inputs["audit"].read(AUDIT_FILE))
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
            coarse_truth=audit["coarse_truth"],
            evidence=audit["evidence"],
            threshold=ctx.inputs["labels"].meta["threshold"],
            footprint=audit["footprint"],
            changes={name: json.loads(found.read(COMPARISON_FILE)) for name, found in ctx.group("comparisons").items()},
            warnings=_warnings(audit),
            stages=_stages(ctx),
            settings=_settings(ctx),
            versions={name: version(name) for name in ("autolabel", "torch", "numpy")},
        )
    )
    ctx.draft.write(REPORT_FILE, page)
    return StageResult(meta={})


def _warnings(audit: dict[str, Any]) -> tuple[str, ...]:
    from autolabel.audit.coverage import never_labelled

    missing = never_labelled(audit["coverage"])
    warning = f"The auto labels hold not one pixel of: {', '.join(missing)}." if missing else None
    return tuple(filter(None, [audit["leak"]["warning"], warning]))


def _subtitle(ctx: Context) -> str:
    meta = ctx.inputs["data"].meta
    images = ", ".join(f"{count} {split}" for split, count in meta["images"].items())
    return f"source {ctx.experiment.data.source}: {images} images; pipeline {ctx.experiment.pipeline}"


def _settings(ctx: Context) -> dict[str, object]:
    """The experiment without what differs from machine to machine: the page is the same wherever it is made."""
    given = {"weights", "huggingface"}
    return ctx.experiment.model_dump(
        mode="json", exclude={"runtime": True, "data": {"root"}, "teacher": given, "student": given}
    )


def _choose(labels: Manifest, count: int) -> list[ImageRow]:
    """Images whose labels show the most classes, spread over the set: one from each of `count` equal parts."""
    variety = {row.image_id: sum(n > 0 for n in row.counts[:-1]) for row in labels.labels}
    images = labels.images
    parts = [images[i * len(images) // count : (i + 1) * len(images) // count] for i in range(count)]
    return [max(part, key=lambda row: variety[row.id]) for part in parts if part]


def _example(ctx: Context, data: Manifest, labels: Manifest, row: ImageRow) -> Example:
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


def _attention(ctx: Context, rows: list[ImageRow]) -> tuple[AttentionExample, ...]:
    """What the teacher saw at each scale, and how much each scale counted (Figure 5 of the method)."""
    from autolabel.data.loaders import load_image
    from autolabel.inference.predictor import Predictor
    from autolabel.report.data import AttentionExample, ScaleView

    model, card = open_model(ctx.inputs["model"])
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


def _scores(ctx: Context) -> tuple[Scores, ...]:
    """Teacher first, then the students in the order of the pipeline."""
    from autolabel.report.data import Scores

    scales = ", ".join(f"{scale:g}" for scale in ctx.experiment.evaluate.scales)
    evaluated = scales + (" with flip" if ctx.experiment.evaluate.flip else "")
    scores = []
    for name, artefact in ctx.group("evaluations").items():
        result: Any = json.loads(artefact.read(EVALUATION_FILE))
        role = "teacher" if name == "teacher" else "student"
        scores.append(Scores(name, role, artefact.meta["trained_on"], evaluated, result))  # type: ignore[arg-type]
    return tuple(scores)


def _stages(ctx: Context) -> tuple[Any, ...]:
    from autolabel.report.data import StageRecord

    return tuple(
        StageRecord(stage=name, key=artefact.path.name, digest=artefact.digest, note=_origin(artefact))
        for name, artefact in sorted(ctx.inputs.items())
    )


def _origin(artefact: Artefact) -> str:
    """Of a network and what measures it: where its first weights come from, and their licence."""
    from autolabel.models.pretrained import origin

    found = origin(artefact.meta)
    return f"started from {found}" if found else ""


REPORT = Stage(
    "report",
    1,
    "report",
    {
        "data": "manifest",
        "model": "weights",
        "codes": "codes",
        "labels": "labels",
        "audit": "audit",
        "evaluations.*": "evaluation",
        "comparisons.*": "comparison",
    },
    run,
    room=disk_estimates.report,
)
