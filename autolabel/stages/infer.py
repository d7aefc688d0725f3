"""Stage infer: what the teacher thinks of the images to label, and of the val images for evidence, as codes."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from autolabel.errors import DataError
from autolabel.flow.stage import Ahead, Context, Outcome, Stage
from autolabel.machine import resolve_device, usable_cores
from autolabel.stages.opening import SHARD_INDEX, open_manifest, open_model

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.rows import ImageRow
    from autolabel.inference.engine import ChunkCodes
    from autolabel.labels.codes import CodeBook


def check(ahead: Ahead) -> None:
    """The bins must fit the classes."""
    from autolabel.labels.codes import CodeBook

    CodeBook(ahead.data.classes.num_classes, ahead.settings.edges)


def run(ctx: Context) -> Outcome:
    """One shard a chunk of images: written whole, then its journal row; a killed run goes on at the next chunk."""
    from autolabel.data.reading import load_image
    from autolabel.inference.engine import infer_chunks
    from autolabel.inference.teacher import Teacher
    from autolabel.labels.codes import CodeBook
    from autolabel.progress import Progress
    from autolabel.threads import OrderedMap

    manifest = open_manifest(ctx.inputs["data"])
    model, card = open_model(ctx.inputs["model"])
    book = CodeBook(manifest.classes.num_classes, ctx.settings.edges)
    device = resolve_device(ctx.runtime.device)
    settings = ctx.settings
    teacher = Teacher(
        model,
        card,
        book,
        scales=settings.scales,
        flip=settings.flip,
        device=device,
        precision=settings.precision,
        static=ctx.runtime.compile,
    )
    chunks = _chunks(manifest, settings.chunk)
    journal = ctx.draft.journal("shards")
    finished = {row["name"]: row for row in journal.rows}
    _check_bad(ctx, finished)  # of a run that ended at just this
    todo = [(i, rows) for i, (name, _, rows) in enumerate(chunks) if name not in finished]
    done = sum(len(rows) for name, _, rows in chunks if name in finished)
    total = sum(len(rows) for _, _, rows in chunks)
    results = infer_chunks(
        teacher,
        todo,
        load=partial(load_image, roots=ctx.roots()),
        batch=ctx.runtime.infer_batch,
        decoders=ctx.runtime.jobs or usable_cores(),
        on_stats=lambda stats: bar.update(stats.images, waiting=f"{stats.ready}/{stats.ahead}"),
        on_retry=lambda limit: ctx.draft.log_append("memory.jsonl", json.dumps({"batch": limit})),
    )

    def keep(result: ChunkCodes) -> None:
        name, split, _ = chunks[result.chunk]
        finished[name] = _write(ctx, name, split, result, book, manifest)
        journal.append([finished[name]])

    bar = Progress(total=total, initial=done, desc=ctx.node, unit="image", quiet=ctx.quiet)
    # One writer thread: shards are compressed and made durable while the next chunk is computed, in order.
    with bar, closing(results), OrderedMap(keep, results, workers=1, ahead=1) as kept:
        for _ in kept:
            _check_bad(ctx, finished)
            ctx.stop.check()
    return _finish(ctx, book, [finished[name] for name, _, _ in chunks])


def _chunks(manifest: Manifest, size: int) -> list[tuple[str, str, list[ImageRow]]]:
    """(shard name, split, images): first the images to label, then the validation images."""
    from autolabel.data.selection import to_label

    chunks = []
    for prefix, split, rows in (("codes", "train", to_label(manifest)), ("val", "val", manifest.split("val"))):
        for number, start in enumerate(range(0, len(rows), size)):
            chunks.append((f"{prefix}-{number:05}.h5", split, rows[start : start + size]))
    return chunks


def _write(
    ctx: Context, name: str, split: str, result: ChunkCodes, book: CodeBook, manifest: Manifest
) -> dict[str, Any]:
    from autolabel.labels.shards import write_shard

    entry = ctx.draft.write(name, write_shard(result.codes, book, class_names=manifest.classes.names))
    bad = [{"id": image_id, "reason": str(error)} for image_id, error in result.bad]
    ids = [image_id for image_id, _ in result.codes]
    return {"name": name, "split": split, "ids": ids, "sha256": entry.sha256, "bad": bad}


def _check_bad(ctx: Context, finished: dict[str, dict[str, Any]]) -> None:
    bad = [item for row in finished.values() for item in row["bad"]]
    limit = ctx.experiment.data.max_bad
    if len(bad) > limit:
        what = f"{len(bad)} images cannot be used and data.max_bad allows {limit}; first: {bad[0]['reason']}"
        raise DataError(ctx.node, what, "repair them or raise data.max_bad")


def _finish(ctx: Context, book: CodeBook, rows: list[dict[str, Any]]) -> Outcome:
    shards = [{key: row[key] for key in ("name", "split", "ids")} for row in rows]
    ctx.draft.write(SHARD_INDEX, json.dumps({"book": book.to_dict(), "shards": shards}, sort_keys=True).encode())
    bad = [item for row in rows for item in row["bad"]]
    if bad:
        ctx.draft.write("quarantine.json", json.dumps(bad, indent=1).encode())
    counts = {split: sum(len(row["ids"]) for row in rows if row["split"] == split) for split in ("train", "val")}
    return Outcome(
        meta={"to_label": counts["train"], "val": counts["val"], "edges": list(book.edges)},
        digests={row["name"]: row["sha256"] for row in rows},
        bad_items=len(bad),
    )


INFER = Stage("infer", 2, "codes", {"data": "manifest", "model": "weights"}, run, check=check)
