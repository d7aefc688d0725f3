"""The content of a report: plain data and arrays, no paths. A section with missing data is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.artifacts import TrainingCurve
from autolabel.audit.calibration import CalibrationResult
from autolabel.audit.comparison import ComparisonResult, RoundChange
from autolabel.audit.coverage import CoverageResult, IgnoredResult
from autolabel.audit.footprint import FootprintResult
from autolabel.audit.shift import ShiftResult
from autolabel.audit.threshold_curve import ThresholdCurveResult
from autolabel.evaluation.iou import EvaluationResult

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Scores:
    """One evaluated network. The first student is the baseline that the gains of the others refer to."""

    name: str
    role: Literal["teacher", "student"]
    trained_on: str  # for people: "fine + auto"
    evaluated: str  # for people: "0.5, 1, 2 with flip"
    result: EvaluationResult


@dataclass(frozen=True)
class Example:
    """One image and its labels; maps are train ids (H, W) uint8, ignore = 255."""

    id: str
    image: NDArray[np.uint8]  # (H, W, 3)
    coarse: NDArray[np.uint8] | None = None
    auto: NDArray[np.uint8] | None = None
    reference: NDArray[np.uint8] | None = None
    reference_name: str = "Hidden truth"  # or "Fine label"


@dataclass(frozen=True)
class ScaleView:
    """Prediction and attention of one scale, at the size of the image."""

    scale: float
    prediction: NDArray[np.uint8]  # (H, W) train ids
    weight: NDArray[np.floating]  # (H, W) 0..1; the weights of all scales sum to 1


@dataclass(frozen=True)
class AttentionExample:
    id: str
    image: NDArray[np.uint8]  # (H, W, 3)
    scales: tuple[ScaleView, ...]
    fused: NDArray[np.uint8]  # (H, W) train ids


@dataclass(frozen=True)
class WorstImage:
    """A validation image that a network gets wrong; maps are train ids (H, W)."""

    id: str
    right: float  # fraction of the labelled pixels
    image: NDArray[np.uint8]  # (H, W, 3)
    fine: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


class CorrectedSet(NamedTuple):
    """The labels that people have corrected, and that the last network learned from."""

    images: int
    pixels: int
    link: str  # from the page to their folder
    folder: str  # the same folder, below the work folder


class NextStep(NamedTuple):
    why: str
    command: str


@dataclass(frozen=True)
class StageRecord:
    """One committed step, as provenance of the report."""

    stage: str  # the step's name
    key: str
    digest: str
    note: str = ""


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows. Names and palette are in train-id order and name the classes in every result."""

    title: str
    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    subtitle: str = ""
    scores: tuple[Scores, ...] = ()
    examples: tuple[Example, ...] = ()
    attention: tuple[AttentionExample, ...] = ()
    coverage: CoverageResult | None = None
    ignored: IgnoredResult | None = None
    coarse_agreement: ComparisonResult | None = None  # auto labels against coarse ones
    auto_truth: ComparisonResult | None = None  # auto labels against the hidden truth
    own_truth: ComparisonResult | None = None  # the same, without the pixels that a coarse label filled
    coarse_truth: ComparisonResult | None = None  # coarse labels against the hidden truth
    evidence: ThresholdCurveResult | None = None
    calibration: CalibrationResult | None = None
    shift: ShiftResult | None = None
    label_bytes: Mapping[str, int] = field(default_factory=dict)  # of training images, by label layer
    threshold: float | None = None  # of the label set
    class_thresholds: Mapping[str, float] = field(default_factory=dict)  # only classes with a threshold of their own
    footprint: FootprintResult | None = None
    curves: Mapping[str, TrainingCurve] = field(default_factory=dict)  # by network
    worst: tuple[WorstImage, ...] = ()
    worst_network: str = ""
    labels_link: str = ""  # from the page to the folder of the labels
    labels_folder: str = ""  # the same folder, below the work folder
    corrected: CorrectedSet | None = None
    next_steps: tuple[NextStep, ...] = ()
    changes: Mapping[str, RoundChange] = field(default_factory=dict)  # by the number of the later round
    warnings: tuple[str, ...] = ()
    stages: tuple[StageRecord, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_filled(self) -> bool:
        """Whether coarse labels gave some of the labelled pixels their class, so that not all are the teacher's own."""
        auto, own = self.auto_truth, self.own_truth
        return auto is not None and own is not None and own["coverage"] != auto["coverage"]

    def threshold_of(self, name: str) -> float | None:
        """The threshold of the labels of one class."""
        return self.class_thresholds.get(name, self.threshold)
