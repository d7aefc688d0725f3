"""One function per section: from `ReportData` to the values for its template, or None, which leaves it out."""

from collections.abc import Callable

from autolabel.report.data import ReportData
from autolabel.report.sections.footprint import footprint
from autolabel.report.sections.images import attention, examples, worst
from autolabel.report.sections.labels import balance, thresholds, worth
from autolabel.report.sections.results import results
from autolabel.report.sections.rounds import rounds
from autolabel.report.sections.run import next_steps, run
from autolabel.report.sections.shared import Section
from autolabel.report.sections.training import training

SECTIONS: dict[str, Callable[[ReportData], Section]] = {
    "examples": examples,
    "results": results,
    "worst": worst,
    "training": training,
    "worth": worth,
    "rounds": rounds,
    "balance": balance,
    "thresholds": thresholds,
    "attention": attention,
    "footprint": footprint,
    "next": next_steps,
    "run": run,
}

__all__ = ["SECTIONS", "Section"]
