"""Stage manifest: what data there is, with digests; from here on the manifest's digest stands for the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from autolabel.artifacts import quarantined, read_quarantine, write_quarantine
from autolabel.config.schema import Experiment
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.stages import disk_estimates
from autolabel.store import Artefact


def identity(settings: Any) -> dict[str, Any]:
    """The root's place does not count, what lies below it does."""
    from autolabel.data.build import fingerprint

    return {**settings.model_dump(mode="json", exclude={"root"}), "content": fingerprint(settings)}


def run(ctx: Context) -> StageResult:
    """Open every file once; unreadable ones are quarantined with the reason, within `data.max_bad`."""
    from autolabel.data.build import build

    built = build(
        ctx.settings,
        write_many=ctx.draft.write_many,
        jobs=ctx.runtime.jobs,
        quiet=ctx.quiet,
        check=ctx.stop.check,
    )
    for name, data in built.manifest.to_files().items():
        ctx.draft.write(name, data)
    if built.excluded:
        ctx.draft.write("excluded.json", _reasons(built.excluded))
    write_quarantine(ctx.draft, [quarantined(*row) for row in sorted(built.quarantined)])
    meta = {
        "images": dict(sorted(Counter(row.split for row in built.manifest.images).items())),
        "labels": dict(sorted(Counter(row.role for row in built.manifest.labels).items())),
        "classes": list(built.manifest.classes.names),
    }
    return StageResult(meta=meta, bad_items=len(built.quarantined))


def mended(experiment: Experiment, inputs: Mapping[str, Artefact], made: Artefact) -> bool:
    """Whether one of the images in quarantine, and its labels, can be used now: the key does not see their bytes."""
    from autolabel.data.build import any_readable

    return any_readable(experiment.data, {row["id"] for row in read_quarantine(made)})


def _reasons(rows: tuple[tuple[str, str], ...]) -> bytes:
    return json.dumps([{"id": image_id, "reason": reason} for image_id, reason in sorted(rows)], indent=1).encode()


MANIFEST = Stage("manifest", 1, "manifest", {}, run, identity, can_retry=mended, room=disk_estimates.manifest)
