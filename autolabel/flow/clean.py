"""Garbage collection: what this experiment no longer refers to, deleted only on request (promise P4)."""

from __future__ import annotations

from pathlib import Path

from autolabel.flow.graph import Pipeline
from autolabel.flow.status import status
from autolabel.store import Found, scan


def unreferenced(pipeline: Pipeline, work: Path) -> list[Found]:
    """What may go: all but the artefacts of up-to-date steps, and whatever belongs to a step still to be done.

    A step that waits or is stale keeps its earlier artefacts and drafts: the settings may be changed back.
    """
    steps = {step.name: step for step in status(pipeline, work)}
    wanted = {step.path for step in steps.values() if step.state == "fresh"}
    found = []
    for item in scan(work / "artefacts"):
        step = steps.get(item.node)
        settled = step is None or step.state == "fresh"
        if item.kind in ("corrupt", "trash") or (settled and item.path not in wanted):
            found.append(item)
    return found
