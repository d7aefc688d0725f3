"""One function per section: from `ReportData` to the values for its template, or None, which leaves it out."""

from collections.abc import Callable

from autolabel.report.data import ReportData
from autolabel.report.sections.footprint import footprint
from autolabel.report.sections.images import attention, examples
from autolabel.report.sections.labels import balance, thresholds, worth
from autolabel.report.sections.results import results
from autolabel.report.sections.rounds import rounds
from autolabel.report.sections.run import run
from autolabel.report.sections.shared import Section

SECTIONS: dict[str, Callable[[ReportData], Section]] = {
    "examples": examples,
    "results": results,
    "worth": worth,
    "rounds": rounds,
    "balance": balance,
    "thresholds": thresholds,
    "attention": attention,
    "footprint": footprint,
    "run": run,
}

__all__ = ["SECTIONS", "Section"]
