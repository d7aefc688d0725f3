"""Stage compare: two label sets of the same images, as two rounds of self-training made them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.artifacts import COMPARISON_FILE, ComparisonMeta, audit_meta, read_manifest
from autolabel.config.base import Config
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.hardware import usable_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.audit.comparison import RoundChange

SETS = ("before", "after")


def run(ctx: Context[Config]) -> StageResult:
    """Compare every image that both sets label; the audits tell how right each set is against the hidden truth."""
    from autolabel.audit.comparison import LabelDiff
    from autolabel.data.loaders import load_label
    from autolabel.parallel import OrderedMap

    manifests = {name: read_manifest(ctx.inputs[name]) for name in SETS}
    classes = read_manifest(ctx.inputs["data"]).classes

    def load(image_id: str) -> list[NDArray[np.uint8]]:
        rows = {name: manifests[name].label(image_id, "auto") for name in SETS}
        return [load_label(row, _roots(ctx, name), classes) for name, row in rows.items() if row is not None]

    change = LabelDiff(classes.names)
    ids = [row.image_id for row in manifests["before"].labels if manifests["after"].label(row.image_id, "auto")]
    jobs = ctx.runtime.jobs or usable_cores()
    with OrderedMap(load, ids, workers=jobs, ahead=jobs) as pairs:
        for before, after in pairs:
            change.add(before, after)
            ctx.stop.check()
    audits = {name: audit_meta(ctx.inputs[f"{name}_audit"]) for name in SETS}
    result: RoundChange = {
        **change.result(),
        "truth": {name: audit["accuracy"] for name, audit in audits.items()},
        "truth_interval": {name: audit["accuracy_interval"] for name, audit in audits.items()},
    }
    COMPARISON_FILE.write(ctx.draft, result)
    meta = ComparisonMeta(
        same=result["same"],
        agree=result["agree"],
        coverage_before=result["coverage_before"],
        coverage_after=result["coverage_after"],
    )
    return StageResult(meta=meta)


def _roots(ctx: Context[Config], name: str) -> dict[str, Path]:
    return {**ctx.roots(), "labels": ctx.inputs[name].data}


COMPARE = Stage(
    name="compare",
    version=2,
    output="comparison",
    inputs={
        "data": "manifest",
        "before": "labels",
        "after": "labels",
        "before_audit": "audit",
        "after_audit": "audit",
    },
    run=run,
)
