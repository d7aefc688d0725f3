"""Artefacts that hold figures: `evaluation`, `audit`, `comparison`, `table` and `report`. None means not defined."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

from autolabel.artifacts.json_file import JsonFile
from autolabel.artifacts.networks import Origin
from autolabel.store import Artefact

if TYPE_CHECKING:
    from autolabel.audit.comparison import ComparisonResult, RoundChange
    from autolabel.audit.coverage import CoverageResult, IgnoredResult
    from autolabel.audit.footprint import FootprintResult
    from autolabel.audit.leaks import LeakResult
    from autolabel.audit.threshold_curve import ThresholdCurveResult
    from autolabel.evaluation.iou import EvaluationResult

PREDICTIONS = "predictions"  # folder of an evaluation: files for a benchmark server
REPORT_PAGE = "report.html"
TABLE_PAGE = "table.md"


class EvaluationMeta(Origin):
    miou: float | None
    accuracy: float | None
    images: int
    trained_on: str  # for people: "fine + auto"


class AuditResult(TypedDict):
    footprint: FootprintResult
    coverage: CoverageResult
    leak: LeakResult
    ignored: IgnoredResult
    coarse_agreement: ComparisonResult | None  # auto labels against coarse ones
    auto_truth: ComparisonResult | None  # auto labels against the hidden truth
    coarse_truth: ComparisonResult | None  # coarse labels against the hidden truth
    evidence: ThresholdCurveResult | None


class AuditMeta(TypedDict):
    accuracy: float | None  # of the auto labels against the hidden truth
    coverage: float | None


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


def comparison_meta(artefact: Artefact) -> ComparisonMeta:
    return cast(ComparisonMeta, artefact.meta)


def table_meta(artefact: Artefact) -> TableMeta:
    return cast(TableMeta, artefact.meta)
