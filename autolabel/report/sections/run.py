"""Provenance of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from autolabel.report.data import ReportData
from autolabel.report.sections.shared import Section


def run(data: ReportData) -> Section:
    """Stages, settings and versions of the run."""
    if not (data.stages or data.settings or data.versions):
        return None
    return {
        "stages": [{"stage": s.stage, "key": s.key, "digest": s.digest, "note": s.note} for s in data.stages],
        "settings": pretty(data.settings).splitlines() if data.settings else [],
        "versions": sorted(data.versions.items()),
    }


def next_steps(data: ReportData) -> Section:
    """The labels, and commands to go on with."""
    if not (data.next_steps or data.labels_link):
        return None
    return {
        "name": data.title,
        "labels": data.labels_link,
        "folder": data.labels_folder,
        "corrected": data.corrected,
        "rows": [{"why": step.why, "command": step.command} for step in data.next_steps],
    }


def pretty(settings: Mapping[str, object]) -> str:
    """Settings as indented JSON, in the order of their keys."""
    return json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False, default=str)
