"""Stage fuse: which label of which image a student learns from, with the pixels that people have corrected on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autolabel.artifacts import CORRECTED_FILE, CorrectedLabel, FusedMeta, read_manifest, write_manifest
from autolabel.config.schema import FuseConfig
from autolabel.data.parts import CLASSES, UNLABELLED, label_part
from autolabel.errors import DataError
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult
from autolabel.store import InputDigests, digest_json

if TYPE_CHECKING:
    from autolabel.data.manifest import ImageRow, LabelRow, Manifest, RowPairs
    from autolabel.formats.corrections import CorrectedImage, Document
    from autolabel.store import InputDigests

_REMEDY = "import the corrections of this experiment's labels"


def key_settings(settings: FuseConfig, files: InputDigests) -> dict[str, Any]:
    """The content of the corrections counts, not their place."""
    key = settings.model_dump(mode="json", exclude={"corrections"})
    if settings.corrections is None:
        return key
    from autolabel.formats.corrections import read_document  # with numpy, which `status` needs for nothing else

    return {**key, "corrections": _digest(read_document(settings.corrections))}


def _digest(document: Document) -> str:
    """`image_sha256` stays out: it is compared with the data, whose digests are in the key, and changes no label."""
    rows = [image.model_dump(exclude={"image_sha256"}) for image in document.images]
    return digest_json([document.classes, rows])


def reads(settings: FuseConfig) -> Mapping[str, tuple[str, ...]]:
    """The train labels of its layers. Auto labels and corrections may be of any train image."""
    layers = tuple(label_part("train", layer) for layer in settings.layers if layer != "auto")
    any_image = (UNLABELLED,) if "auto" in settings.layers or settings.corrections is not None else ()
    fine = () if "fine" in settings.layers or settings.corrections is None else (label_part("train", "fine"),)
    return {"data": (CLASSES, *layers, *fine, *any_image)}


def check(ahead: PreflightContext[FuseConfig]) -> None:
    """Some image must have a label of one of the layers; auto labels come later. Corrections must fit the data."""
    from autolabel.formats.corrections import check_classes, read_document

    if "auto" not in ahead.settings.layers:
        ahead.require_labels("train", ahead.settings.layers, "choose other layers for fuse.layers")
    if ahead.settings.corrections is not None:
        document = read_document(ahead.settings.corrections)
        check_classes(document, ahead.data.classes.names, ahead.settings.corrections)
        _check_ids(document, {image.id for image in ahead.data.images if image.split == "train"}, ahead.settings)


def _check_ids(document: Document, ids: set[str], settings: FuseConfig) -> None:
    unknown = [image.id for image in document.images if image.id not in ids]
    if unknown:
        what = f"corrects images that are no training images of the data: {len(unknown)}: {', '.join(unknown[:3])}"
        raise DataError(settings.corrections, what, _REMEDY)


def run(ctx: Context[FuseConfig]) -> StageResult:
    """Write a manifest with one label an image: the first of the layers that the image has, with its corrections."""
    from autolabel.data.manifest import Manifest, training_rows

    data = read_manifest(ctx.inputs["data"])
    if "labels" in ctx.inputs:
        labels = data.label_table.joined(read_manifest(ctx.inputs["labels"]).label_table)
        data = Manifest(data.classes, data.images, labels)
        del labels
    pairs = training_rows(data, ctx.settings.layers)
    if ctx.settings.corrections is not None:
        pairs = _with_corrections(ctx, data, pairs, ctx.settings.corrections)
    write_manifest(ctx.draft, Manifest(data.classes, pairs.first, pairs.second))
    layers = Counter(label.role for label in pairs.second)
    return StageResult(meta=FusedMeta(images=len(pairs), layers=dict(sorted(layers.items()))))


class _Corrected(NamedTuple):
    image: ImageRow
    label: LabelRow
    png: bytes
    entry: CorrectedLabel


def _with_corrections(ctx: Context[FuseConfig], manifest: Manifest, pairs: RowPairs, folder: Path) -> RowPairs:
    """The pairs; a corrected image has its label in this artefact. `corrected.json` says who set which pixels."""
    from autolabel.data.rows import Pairs
    from autolabel.formats.corrections import check_classes, read_document

    document = read_document(folder)
    if _digest(document) != ctx.identity["corrections"]:
        raise DataError(folder, "changed since the run began", "run the same command again")
    check_classes(document, manifest.classes.names, folder)
    known = {image.id: image for image in manifest.split("train")}
    _check_ids(document, set(known), ctx.settings)
    bases = {image.id: label for image, label in pairs}
    entries: list[CorrectedLabel] = []
    replaced: dict[str, tuple[ImageRow, LabelRow]] = {}

    def files() -> Iterator[tuple[str, bytes]]:
        for row in document.images:
            made = _correct(ctx, manifest, known[row.id], bases.get(row.id), folder, row)
            entries.append(made.entry)
            replaced[row.id] = made.image, made.label
            yield made.label.path, made.png

    ctx.draft.write_many(files())
    CORRECTED_FILE.write(ctx.draft, sorted(entries, key=lambda entry: entry["id"]))
    kept = [pair for pair in pairs if pair[0].id not in replaced]
    every = sorted([*kept, *replaced.values()], key=lambda pair: pair[0].id)
    return Pairs([image for image, _ in every], [label for _, label in every])


def _correct(
    ctx: Context[FuseConfig],
    manifest: Manifest,
    image: ImageRow,
    base: LabelRow | None,
    folder: Path,
    row: CorrectedImage,
) -> _Corrected:
    import numpy as np

    from autolabel.classes import IGNORE
    from autolabel.data.loaders import load_label
    from autolabel.data.schema import LabelRow
    from autolabel.formats.corrections import FILE, apply, read_mask
    from autolabel.labels import png
    from autolabel.store import sha256_bytes

    if row.image_sha256 not in ("", image.sha256):  # the corrections are of another image of this name
        what = f"corrects {image.id!r}, whose image has changed since"
        raise DataError(folder / FILE, what, "put that image back, or import corrections of the labels of the new one")
    count = manifest.classes.num_classes
    mask = read_mask(folder, row, count)
    if mask.shape != (image.height, image.width):
        what = f"is {mask.shape[1]} x {mask.shape[0]}, its image is {image.width} x {image.height}"
        raise DataError(folder / row.path, what, _REMEDY)
    labels = apply(None if base is None else load_label(base, ctx.roots(), manifest.classes), mask)
    data = png.encode(labels)
    counts = np.bincount(labels.ravel(), minlength=256)
    label = LabelRow(
        image_id=image.id,
        role="corrected",
        encoding="train_ids",
        root="fused",
        path=row.path,
        sha256=sha256_bytes(data),
        bytes=len(data),
        counts=(*counts[:count].tolist(), int(counts[IGNORE])),
        provenance=f"corrections over {'nothing' if base is None else base.role}",
    )
    entry = CorrectedLabel(
        id=row.id,
        base=None if base is None else base.role,
        pixels=row.pixels,
        author=row.author,
        time=row.time,
        corrections=row.sha256,
    )
    return _Corrected(image, label, data, entry)


FUSE = Stage(
    name="fuse",
    version=1,
    output="fused",
    inputs={"data": "manifest", "labels?": "labels"},
    run=run,
    key_settings=key_settings,
    reads=reads,
    check=check,
)
