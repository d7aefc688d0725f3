"""A small report with every section, from random maps, for the tests of the report."""

from __future__ import annotations

import numpy as np

from autolabel.artifacts import TrainingCurve
from autolabel.audit.calibration import calibration_result
from autolabel.audit.comparison import Comparison, LabelDiff
from autolabel.audit.coverage import ClassBalance, IgnoredLedger
from autolabel.audit.footprint import Footprint
from autolabel.audit.threshold_curve import ThresholdCurve
from autolabel.evaluation.confusion import confusion_matrix
from autolabel.evaluation.intervals import image_counts, intervals
from autolabel.evaluation.iou import evaluation_result
from autolabel.labels.calibration import CellCounts
from autolabel.labels.codebook import Codebook
from autolabel.report.data import (
    AttentionExample,
    CorrectedSet,
    Example,
    NextStep,
    ReportData,
    ScaleView,
    Scores,
    StageRecord,
    WorstImage,
)

SHAPE = (12, 24)
EDGES = (0.5, 0.7, 0.9)
PALETTE = ((128, 64, 128), (0, 0, 142), (220, 20, 60))


def maps(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 255], size=(SHAPE[0] // 4, SHAPE[1] // 4))
    return values.astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def scores(names: tuple[str, ...]) -> tuple[Scores, ...]:
    def result(seed: int):
        matrix = confusion_matrix(maps(seed), maps(0), len(names))
        counts = np.stack([image_counts(matrix), image_counts(confusion_matrix(maps(8), maps(0), len(names)))])
        return {**evaluation_result(matrix, names), "intervals": intervals(counts, ["a", "b"])}

    return (
        Scores("teacher", "teacher", "fine", "0.5, 1, 2", result(1)),
        Scores("baseline", "student", "fine + coarse", "1", result(2)),
        Scores("student", "student", "fine + auto", "1", result(0)),
    )


def audit(names: tuple[str, ...]) -> dict[str, object]:
    auto, coarse, truth = maps(3), maps(4), maps(5)
    footprint, balance, ledger = Footprint(len(names)), ClassBalance(names), IgnoredLedger(names)
    footprint.add("city", num_bytes=300, width=SHAPE[1], height=SHAPE[0])
    for layer, labels in (("auto", auto), ("coarse", coarse), ("fine", truth)):
        balance.add(layer, [*(int((labels == c).sum()) for c in range(len(names))), int((labels == 255).sum())])
    ledger.add({"kept": 200, "filled": 0, "low_confidence": 80, "veto": 5, "no_prediction": 3})
    ledger.add_maps(auto, np.where(auto == 255, 2, auto).astype(np.uint8))
    comparisons = {}
    for name, label, reference in (
        ("coarse_agreement", auto, coarse),
        ("auto_truth", auto, truth),
        ("own_truth", np.where(coarse == 255, auto, 255), truth),
        ("coarse_truth", coarse, truth),
    ):
        comparison = Comparison(names)
        comparison.add(label, reference)
        comparisons[name] = comparison.result()
    change = LabelDiff(names)
    change.add(auto, truth)
    evidence = ThresholdCurve(names, EDGES)
    evidence.add(auto, np.random.default_rng(6).integers(0, 4, SHAPE), label=truth)
    book = Codebook(len(names), EDGES)
    halves = [CellCounts(book), CellCounts(book)]
    for seed, half in enumerate(halves):
        half.add(auto, np.random.default_rng(seed).integers(0, 4, SHAPE), truth)
    return {
        "footprint": footprint.result(codes_bytes=900),
        "coverage": balance.result(),
        "ignored": ledger.result(),
        "evidence": evidence.result(),
        "calibration": calibration_result((halves[0], halves[1]), names),
        "changes": {
            "2": {
                **change.result(),
                "truth": {"before": 0.8, "after": None},
                "truth_interval": {"before": (0.7, 0.9), "after": None},
            }
        },
        **comparisons,
    }


def curve(seed: int, names: tuple[str, ...]) -> TrainingCurve:
    rng = np.random.default_rng(seed)
    return {
        "steps": [
            {"step": 5 * k, "loss": float(rng.random()) if k != 3 else None, "lr": 1e-3 / k} for k in range(1, 9)
        ],
        "validations": [
            {"step": step, "miou": 0.3, "accuracy": 0.5, "iou": {names[0]: step / 40, names[1]: 0.1, names[2]: None}}
            for step in (10, 20, 30, 40)
        ],
    }


def example_data(
    *, names: tuple[str, ...] = ("road", "car", "person"), word: str = "street", **changes: object
) -> ReportData:
    """A report with all data; `word` takes the place of every foreign name."""
    weights = np.full(SHAPE, 0.25), np.full(SHAPE, 0.75)
    views = tuple(ScaleView(s, maps(7), w) for s, w in zip((0.5, 1.0), weights, strict=True))
    data = {
        "title": word,
        "subtitle": f"{word}, below",
        "names": names,
        "palette": PALETTE,
        "scores": scores(names),
        "examples": (Example(word, image(8), maps(4), maps(3), maps(5), reference_name=word),),
        "attention": (AttentionExample(word, image(8), views, maps(9)),),
        "threshold": 0.5,
        "curves": {name: curve(seed, names) for seed, name in enumerate(("teacher", word))},
        "worst": (WorstImage(word, 0.25, image(8), maps(5), maps(3)),),
        "worst_network": word,
        "labels_link": "../../../label/0123/data/",
        "labels_folder": "artefacts/label/0123/data/",
        "corrected": CorrectedSet(2, 1500, "../../../fuse/0123/data/", "artefacts/fuse/0123/data/"),
        "next_steps": (NextStep("Label new images", f"autolabel predict {word}"),),
        "warnings": (f"{word} leaks",),
        "stages": (StageRecord(word, f"key-{word}", f"digest-{word}", note=word),),
        "settings": {word: [word, 1, 0.5, True]},
        "versions": {word: word},
        **audit(names),
    }
    return ReportData(**{**data, **changes})
