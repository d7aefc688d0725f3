"""Results that need attention, one line each, with the next step to take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from autolabel.artifacts import (
    EvaluationMeta,
    audit_meta,
    evaluation_meta,
    labels_meta,
    read_image_counts,
    read_manifest,
)
from autolabel.flow.graph import Node, Pipeline
from autolabel.store import Artefact

MOSTLY_IGNORED = 0.9  # fraction of the pixels
FEW_IMAGES = 20  # val images: below this number, no figure says much
_FEW = "hold more finely labelled images out for validation"


class _Evaluated(NamedTuple):
    node: Node
    artefact: Artefact
    meta: EvaluationMeta


def advice(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> list[str]:
    """The lines for the results that are there; `artefacts` by step name."""
    return [*_labels(pipeline, artefacts), *_networks(pipeline, artefacts)]


def _labels(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> Iterator[str]:
    """Labels that a student can learn little from: those of the last round."""
    audits = [node for node in pipeline.of_stage("audit") if node.name in artefacts]
    if not audits:
        return
    labels = artefacts.get(audits[-1].inputs["labels"].name)
    ignored = labels_meta(labels)["ignored_share"] if labels else 0.0
    if ignored > MOSTLY_IGNORED:
        yield (
            f"{100 * ignored:.1f} % of the pixels are ignored; lower label.threshold "
            "(`autolabel thresholds EXPERIMENT` shows what is kept and right), or train the teacher longer"
        )
    meta = audit_meta(artefacts[audits[-1].name])
    unknown = meta.get("unknown_groups", [])
    if unknown:
        yield (
            f"the teacher does not know images like those of {_some(unknown)}: it is far less sure there than on "
            "held-out images; label some of them by hand (`autolabel next EXPERIMENT`), or look at them "
            "(`autolabel review EXPERIMENT`)"
        )
    missing = meta["never_labelled"]
    if missing:
        yield (
            f"no label holds a pixel of {', '.join(missing)}; give these classes a lower threshold "
            "in label.class_thresholds, or label images of them by hand"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _networks(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> Iterator[str]:
    """The headline's student against its teacher, on the same images."""
    evaluated = [
        _Evaluated(node, artefacts[node.name], evaluation_meta(artefacts[node.name]))
        for node in pipeline.of_stage("evaluate")
        if node.name in artefacts
    ]
    student = next((one for one in evaluated if one.node is pipeline.headline), None)
    teacher = next((one for one in evaluated if one.node.inputs["model"].stage.name == "teacher"), None)
    few = _too_few(evaluated)
    if few:
        yield few
    if student is None or teacher is None or student.node.inputs["model"].stage.name != "student":
        return
    before, after = teacher.meta["miou"], student.meta["miou"]
    if before is None or after is None:
        return
    between = _gain_interval(student, teacher, artefacts)
    gain = f"{100 * (after - before):+.1f} points of mIoU"
    if after < before:
        yield (
            f"the student is below its teacher: {gain}{_ends(between)}; train it longer "
            "(student.epochs), or label with a higher label.threshold"
        )
    if between is not None and between[0] <= 0 <= between[1] and not few:
        yield (
            f"{student.meta['images']} val images do not tell student and teacher apart: {gain}{_ends(between)}; {_FEW}"
        )


def _too_few(evaluated: list[_Evaluated]) -> str | None:
    return few_images(min((one.meta["images"] for one in evaluated), default=FEW_IMAGES))


def few_images(images: int) -> str | None:
    """The advice for a number of val images that is too small; None for one that is not."""
    if images >= FEW_IMAGES:
        return None
    return f"{images} val image{'s are' if images > 1 else ' is'} too few to conclude anything from a mIoU; {_FEW}"


def _gain_interval(
    student: _Evaluated, teacher: _Evaluated, artefacts: Mapping[str, Artefact]
) -> tuple[float, float] | None:
    """The interval of the difference: both evaluations measured the same images."""
    from autolabel.data.manifest import val_rows
    from autolabel.evaluation.intervals import gain_interval

    data = artefacts.get(student.node.inputs["data"].name)
    if data is None:
        return None
    groups = [row.group for row, _ in val_rows(read_manifest(data))]
    ours, base = read_image_counts(student.artefact), read_image_counts(teacher.artefact)
    return gain_interval(ours, base, groups) if len(ours) == len(base) == len(groups) else None


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" (95 %: {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
