"""Artefacts that hold figures: `evaluation`, `audit`, `comparison`, `table` and `report`. None means not defined."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from autolabel.artifacts.json_file import JsonFile
from autolabel.artifacts.networks import Origin
from autolabel.artifacts.precision import PrecisionChoice
from autolabel.store import Artefact, Draft

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.audit.calibration import CalibrationResult
    from autolabel.audit.comparison import ComparisonResult, RoundChange
    from autolabel.audit.coverage import CoverageResult, IgnoredResult
    from autolabel.audit.footprint import FootprintResult
    from autolabel.audit.leaks import LeakResult
    from autolabel.audit.shift import ShiftResult
    from autolabel.audit.threshold_curve import ThresholdCurveResult
    from autolabel.evaluation.intervals import Interval, Intervals
    from autolabel.evaluation.iou import EvaluationResult

PREDICTIONS = "predictions"  # folder of an evaluation: files for a benchmark server
REPORT_PAGE = "report.html"
TABLE_PAGE = "table.md"
IMAGE_COUNTS = "image_counts.npy"  # of an evaluation: pixels per image and class


class EvaluationMeta(Origin):
    miou: float | None
    accuracy: float | None
    intervals: Intervals  # of both
    images: int
    trained_on: str  # for people: "fine + auto"


class AuditResult(TypedDict):
    footprint: FootprintResult
    coverage: CoverageResult
    leak: LeakResult
    ignored: IgnoredResult
    coarse_agreement: ComparisonResult | None  # auto labels against coarse ones
    auto_truth: ComparisonResult | None  # auto labels against the hidden truth
    own_truth: ComparisonResult | None  # the same, without the pixels that a coarse label filled
    coarse_truth: ComparisonResult | None  # coarse labels against the hidden truth
    evidence: ThresholdCurveResult | None
    calibration: CalibrationResult | None  # both on held-out images with fine labels
    shift: ShiftResult | None  # predicted accuracy of images and groups
    precision: NotRequired[PrecisionChoice]  # where infer chose the number format


class AuditMeta(TypedDict):
    accuracy: float | None  # of the auto labels against the hidden truth
    coverage: float | None
    accuracy_interval: Interval | None
    own_accuracy: float | None  # of the teacher's own pixels: those that no coarse label filled
    own_coverage: float | None
    own_accuracy_interval: Interval | None
    never_labelled: list[str]  # classes that people labelled and no auto label holds
    unknown_groups: list[str]  # groups of images that the teacher does not know


class ComparisonMeta(TypedDict):
    same: float | None
    agree: float | None
    coverage_before: float | None
    coverage_after: float | None


class TableRow(TypedDict):
    title: str
    train_scales: list[float]
    eval_scales: list[float]
    miou: float | None
    interval: Interval | None  # of the mIoU
    trunk_cost: float  # FLOPs of a training step, as a multiple of the first row's
    network_cost: float
    steps: int
    model: str  # name of the input that holds the network


class TableMeta(TypedDict):
    rows: list[TableRow]


EVALUATION_FILE: JsonFile[EvaluationResult] = JsonFile("evaluation.json", indent=1, sort_keys=True)
AUDIT_FILE: JsonFile[AuditResult] = JsonFile("audit.json", indent=1, sort_keys=True)
COMPARISON_FILE: JsonFile[RoundChange] = JsonFile("comparison.json", indent=1, sort_keys=True)
TABLE_FILE: JsonFile[list[TableRow]] = JsonFile("table.json", indent=1, sort_keys=True)


def evaluation_meta(artefact: Artefact) -> EvaluationMeta:
    return cast(EvaluationMeta, artefact.meta)


def write_image_counts(draft: Draft, counts: NDArray[np.int64]) -> None:
    """(N, K, 4) pixels of `evaluation.intervals.image_counts`, in the order of the manifest's val images."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, counts.astype(np.uint32), allow_pickle=False)  # an image has fewer than 2**32 pixels
    draft.write(IMAGE_COUNTS, buffer.getvalue())


def read_image_counts(artefact: Artefact) -> NDArray[np.int64]:
    import numpy as np

    counts: NDArray[np.uint32] = np.load(io.BytesIO(artefact.read(IMAGE_COUNTS)), allow_pickle=False)
    return counts.astype(np.int64)


def audit_meta(artefact: Artefact) -> AuditMeta:
    return cast(AuditMeta, artefact.meta)


def comparison_meta(artefact: Artefact) -> ComparisonMeta:
    return cast(ComparisonMeta, artefact.meta)


def table_meta(artefact: Artefact) -> TableMeta:
    return cast(TableMeta, artefact.meta)
