"""What attention-guided skipping left out, and what it cost."""

from __future__ import annotations

from autolabel.report.data import ReportData
from autolabel.report.sections.shared import Section
from autolabel.report.text import percent


def skipping(data: ReportData) -> Section:
    """Shares of the codes' artefact; only where something could be skipped."""
    found = data.skipping
    if found is None:
        return None
    return {
        "skipped": percent(found["skipped"], 1),
        "images": f"{found['checked_images']:,}",
        "rows": [
            ("the same label, cut at 0.5", percent(found["same_label"], 2)),
            ("the same class", percent(found["same_class"], 2)),
        ]
        if found["checked_images"]
        else [],
    }
