"""Results that need attention, one line each, with the next step to take.

No two lines contradict each other: where the labels ignore much or miss classes, no line asks for a higher threshold;
where the val images are too few for a conclusion, no line draws one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from autolabel.artifacts import (
    EvaluationMeta,
    LabelsMeta,
    audit_meta,
    evaluation_meta,
    labels_meta,
    read_image_counts,
    read_manifest,
)
from autolabel.flow.graph import Node, Pipeline
from autolabel.store import Artefact

MUCH_IGNORED = 0.5  # fraction of the pixels
FEW_IMAGES = 20  # val images: below this number, no figure says much
_FEW = "hold more finely labelled images out for validation"
_CURVES = "`autolabel thresholds EXPERIMENT`"


class _Evaluated(NamedTuple):
    node: Node
    artefact: Artefact
    meta: EvaluationMeta


def advice(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> list[str]:
    """The lines for the results that are there; `artefacts` by step name."""
    poor, unknown = _poor_labels(pipeline, artefacts), _unknown_groups(pipeline, artefacts)
    return [*poor, *unknown, *_networks(pipeline, artefacts, are_labels_poor=bool(poor))]


def _poor_labels(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> list[str]:
    """Labels of the last round that a student can learn little from."""
    audit = _last_audit(pipeline, artefacts)
    if audit is None:
        return []
    lines = []
    labels = artefacts.get(audit.inputs["labels"].name)
    meta_of_labels = labels_meta(labels) if labels else None
    if meta_of_labels is not None and meta_of_labels["ignored_share"] > MUCH_IGNORED:
        lines.append(
            f"{100 * meta_of_labels['ignored_share']:.1f} % of the pixels are ignored; {_CURVES} shows what a lower "
            f"{_threshold_setting(meta_of_labels)} keeps and how much of it is right; a better teacher keeps more, too"
        )
    missing = audit_meta(artefacts[audit.name])["never_labelled"]
    if missing:
        lines.append(
            f"no label holds a pixel of {', '.join(missing)}; give these classes a lower threshold "
            f"in label.class_thresholds ({_CURVES} shows what it keeps), or label images of them by hand "
            "(`autolabel next EXPERIMENT`)"
        )
    return lines


def _unknown_groups(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> list[str]:
    audit = _last_audit(pipeline, artefacts)
    unknown = audit_meta(artefacts[audit.name]).get("unknown_groups", []) if audit else []
    if not unknown:
        return []
    return [
        f"the teacher does not know images like those of {_some(unknown)}: it is far less sure there than on "
        "held-out images; label some of them by hand (`autolabel next EXPERIMENT`), or look at them "
        "(`autolabel review EXPERIMENT`)"
    ]


def _last_audit(pipeline: Pipeline, artefacts: Mapping[str, Artefact]) -> Node | None:
    audits = [node for node in pipeline.of_stage("audit") if node.name in artefacts]
    return audits[-1] if audits else None


def _threshold_setting(meta: LabelsMeta) -> str:
    return "label.quantile or label.quantile_range" if meta["threshold"] == "quantile" else "label.threshold"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _networks(pipeline: Pipeline, artefacts: Mapping[str, Artefact], *, are_labels_poor: bool) -> Iterator[str]:
    """The headline's student against its teacher, on the same images: one line at most."""
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
        return
    if student is None or teacher is None or student.node.inputs["model"].stage.name != "student":
        return
    before, after = teacher.meta["miou"], student.meta["miou"]
    if before is None or after is None:
        return
    between = _gain_interval(student, teacher, artefacts)
    gain = f"{100 * (after - before):+.1f} points of mIoU"
    if between is not None and between[0] <= 0 <= between[1]:
        yield (
            f"{student.meta['images']} val images do not tell student and teacher apart: {gain}{_ends(between)}; {_FEW}"
        )
    elif after < before:
        other = "mend the labels first (above)" if are_labels_poor else f"keep fewer labels ({_CURVES})"
        yield (
            f"the student is below its teacher: {gain}{_ends(between)}; train it longer (student.epochs), or {other}"
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
