"""Stage compare: two label sets of the same images, as two rounds of self-training made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.artifacts import open_manifest
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.hardware import usable_cores
from autolabel.stages.audit import AUDIT_FILE

if TYPE_CHECKING:
    import numpy as np

COMPARISON_FILE = "comparison.json"
SETS = ("before", "after")


def run(ctx: Context) -> StageResult:
    """Every image that both sets label; how right either is against the hidden truth stands in its audit."""
    from autolabel.audit.comparison import LabelDiff
    from autolabel.data.loaders import load_label
    from autolabel.parallel import OrderedMap

    manifests = {name: open_manifest(ctx.inputs[name]) for name in SETS}
    classes = open_manifest(ctx.inputs["data"]).classes

    def load(image_id: str) -> list[np.ndarray]:
        rows = {name: manifests[name].label(image_id, "auto") for name in SETS}
        return [load_label(row, _roots(ctx, name), classes) for name, row in rows.items() if row is not None]

    change = LabelDiff(classes.names)
    ids = [row.image_id for row in manifests["before"].labels if manifests["after"].label(row.image_id, "auto")]
    jobs = ctx.runtime.jobs or usable_cores()
    with OrderedMap(load, ids, workers=jobs, ahead=jobs) as pairs:
        for before, after in pairs:
            change.add(before, after)
            ctx.stop.check()
    result = {**change.result(), "truth": {name: _accuracy(ctx, name) for name in SETS}}
    ctx.draft.write(COMPARISON_FILE, json.dumps(result, indent=1, sort_keys=True).encode())
    return StageResult(meta={key: result[key] for key in ("same", "agree", "coverage_before", "coverage_after")})


def _roots(ctx: Context, name: str) -> dict[str, Path]:
    return {**ctx.roots(), "labels": ctx.inputs[name].data}


def _accuracy(ctx: Context, name: str) -> float | None:
    """Share of the labelled pixels that are right, where there is a hidden truth."""
    truth = json.loads(ctx.inputs[f"{name}_audit"].read(AUDIT_FILE))["auto_truth"]
    return None if truth is None else truth["accuracy"]


COMPARE = Stage(
    "compare",
    1,
    "comparison",
    {"data": "manifest", "before": "labels", "after": "labels", "before_audit": "audit", "after_audit": "audit"},
    run,
)
