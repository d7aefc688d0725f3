"""Stage manifest: what data there is, with digests; from here on the manifest's digest stands for the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autolabel.artifacts import (
    DataCheck,
    ExcludedImage,
    ManifestMeta,
    QuarantinedImage,
    read_manifest,
    read_quarantine,
    write_excluded,
    write_manifest,
    write_quarantine,
)
from autolabel.config.schema import Experiment
from autolabel.config.sources import Data
from autolabel.errors import DataError
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.progress import print_err
from autolabel.stages import disk_estimates
from autolabel.store import Artefact, InputDigests

if TYPE_CHECKING:
    from autolabel.data.build import ScanResult
    from autolabel.data.parts import PartChange


def identity(settings: Data, files: InputDigests) -> dict[str, Any]:
    """The root's place does not count, the bytes of what lies below it do."""
    from autolabel.data.sources.registry import fingerprint

    known = {key: value for key, value in settings.for_key().items() if key != "root"}
    return {**known, "content": fingerprint(settings, files)}


def run(ctx: Context[Data]) -> StageResult:
    """Open every file once and check it; unreadable ones are quarantined with the reason, within `data.max_bad`."""
    from autolabel.data.build import build
    from autolabel.data.parts import part_digests

    built = build(
        ctx.settings,
        write_many=ctx.draft.write_many,
        jobs=ctx.runtime.jobs,
        quiet=ctx.quiet,
        check=ctx.stop.check,
    )
    _check_content(ctx, built)
    manifest = built.manifest
    write_manifest(ctx.draft, manifest)
    write_excluded(ctx.draft, [ExcludedImage(id=id_, reason=reason) for id_, reason in sorted(built.excluded)])
    bad = [QuarantinedImage(id=id_, path=path, reason=reason) for id_, path, reason in sorted(built.quarantined)]
    write_quarantine(ctx.draft, bad)
    meta = ManifestMeta(
        images=dict(sorted(Counter(row.split for row in manifest.images).items())),
        labels=dict(sorted(Counter(row.role for row in manifest.labels).items())),
        classes=list(manifest.classes.names),
        findings=[finding.code for finding in built.findings],
        parts=part_digests(manifest),
    )
    notes = [*map(str, built.findings), *map(str, built.listing.skipped)]
    for note in () if ctx.quiet else notes:
        print_err(f"{ctx.node}: {note}")
    data_check = DataCheck(findings=notes, values=built.survey.rows())
    return StageResult(meta=meta, bad_items=len(built.quarantined), provenance={"data_check": data_check})


def _check_content(ctx: Context[Data], built: ScanResult) -> None:
    """DataError unless the files that were read are those of the key."""
    if built.fingerprint == ctx.identity["content"]:
        return
    root = getattr(ctx.settings, "root", None)
    known = {} if root is None else ctx.files.used(root)
    changed = sorted(path for path, digest in built.digests.items() if known.get(path, digest) != digest)
    if root is not None:
        ctx.files.forget(root, changed)
    name = changed[0] if changed else "the list of files"
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    remedy = "run the same command again, and leave the data alone while it runs"
    raise DataError(root, f"{name}{more} changed while the manifest was made", remedy)


def can_retry(experiment: Experiment, inputs: Mapping[str, Artefact], made: Artefact) -> bool:
    """Whether one of the images in quarantine, and its labels, can be used now: the key does not see their bytes."""
    from autolabel.data.build import any_readable

    return any_readable(experiment.data, {row["id"] for row in read_quarantine(made)})


def input_changes(settings: Data, files: InputDigests, made: Artefact) -> list[PartChange]:
    """How the source's images and masks differ from those that `made` describes. Rendered scenes have no files."""
    from autolabel.data.parts import PartChange, listing_contents, manifest_contents, part_changes
    from autolabel.data.sources.registry import plan

    if settings.source == "synthetic":
        return []
    listing = plan(settings)
    unusable = {row["id"] for row in read_quarantine(made)}
    now = listing_contents(listing, listing.digests(files))
    usable = {part: {id_: x for id_, x in rows.items() if id_ not in unusable} for part, rows in now.items()}
    found = {change.part: change for change in part_changes(manifest_contents(read_manifest(made)), usable)}
    for part, rows in now.items():  # an image in quarantine may have been repaired
        if number := len(unusable & rows.keys()):
            change = found.get(part, PartChange(part, 0, 0, 0))
            found[part] = replace(change, unknown=change.unknown + number)
    return [found[part] for part in sorted(found)]


MANIFEST: Stage[Data] = Stage(
    name="manifest",
    version=3,
    output="manifest",
    inputs={},
    run=run,
    key_settings=identity,
    can_retry=can_retry,
    input_changes=input_changes,
    disk_estimate=disk_estimates.manifest,
)
