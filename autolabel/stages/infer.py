"""Stage infer: the teacher's predictions as codes, for the images to label and for the validation images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

from autolabel.artifacts import (
    PRECISION_FILE,
    TEACHER_FAILED,
    CodesMeta,
    PrecisionChoice,
    QuarantinedImage,
    ShardEntry,
    read_manifest,
    read_quarantine,
    write_quarantine,
    write_shard_index,
)
from autolabel.config.networks import TeacherConfig
from autolabel.config.schema import Experiment, InferConfig
from autolabel.data.parts import CLASSES, UNLABELLED, VAL_IMAGES
from autolabel.errors import ConfigError, DataError, ImageError, UnreadableImage
from autolabel.flow.environment import DEVICE, VERSIONS
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult, roots_of
from autolabel.hardware import resolve_device, usable_cores
from autolabel.progress import print_err
from autolabel.stages import disk_estimates
from autolabel.stages.chunk_scheduler import Chunk, ChunkRow, ChunkScheduler, split_rows
from autolabel.stages.computed_codes import compute_codes, load_unchanged
from autolabel.stages.foreign import FOREIGN_FILE, is_foreign
from autolabel.stages.known_codes import KnownChunk, KnownCodes, find_known_codes
from autolabel.stages.precision import chosen_precision
from autolabel.stages.throughput import ThroughputLog
from autolabel.stages.uses import infer_uses
from autolabel.store import Artefact

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.schema import ImageRow
    from autolabel.inference.engine import ChunkCodes, Stats
    from autolabel.labels.codebook import Codebook

PATIENCE = 10.0  # seconds that a stop waits for the end of a chunk; the caller may allow no more than 30 in all


def reads(settings: InferConfig) -> Mapping[str, tuple[str, ...]]:
    """The images to label and those to validate on, but no label of theirs."""
    return {"data": (CLASSES, UNLABELLED, VAL_IMAGES)}


def check(ahead: PreflightContext[InferConfig]) -> None:
    """The bins must fit the classes. A foreign teacher sees an image once, as it is."""
    from autolabel.labels.codebook import Codebook

    settings, teacher = ahead.settings, ahead.inputs.get("model")
    Codebook(ahead.data.classes.num_classes, settings.edges, second_below=settings.second_below)
    foreign = isinstance(teacher, TeacherConfig) and teacher.foreign is not None
    if foreign and (settings.scales != (1.0,) or settings.flip or settings.window is not None):
        remedy = "set infer.scales = [1.0], and leave out infer.flip and infer.window"
        raise ConfigError("infer.scales", "a foreign teacher labels each image once, as it is", remedy)


def run(ctx: Context[InferConfig]) -> StageResult:
    """Write one shard per chunk of images, then its journal row: a killed run goes on at the next chunk.

    Ranks take the chunks one by one; each writes its own shards and journal, rank 0 what ties them together.
    """
    from autolabel.labels.codebook import Codebook
    from autolabel.parallel import OrderedMap

    manifest = read_manifest(ctx.inputs["data"])
    book = Codebook(manifest.classes.num_classes, ctx.settings.edges, second_below=ctx.settings.second_below)
    names = manifest.classes.names
    chunks = _chunks(manifest, ctx.settings.chunk)
    choice = chosen_precision(ctx, book, chunks)
    known = _known(ctx, book, names)
    shared = ChunkScheduler(chunks, ctx.draft, ctx.world)
    _say_known(ctx, shared, known)
    parts: dict[int, KnownChunk] = {}  # of the chunks that this rank is at
    jobs = ctx.runtime.jobs or usable_cores()
    log = partial(ctx.draft.log_append, f"queues{shared.suffix}.jsonl")
    on_cpu = is_foreign(ctx.inputs["model"]) or resolve_device(ctx.runtime.device) == "cpu"
    queues = ThroughputLog(log, shared.counter, threads=(jobs, jobs if on_cpu else 1))
    bar = _Bar(ctx, shared, queues)

    def counted(stats: Stats) -> None:
        bar.count(stats)
        ctx.stop.check(after=PATIENCE)

    def unknown() -> Iterator[tuple[int, Sequence[ImageRow]]]:
        for index in shared.take():
            parts[index] = known.of(shared.chunks[index])
            yield index, parts[index].unknown

    to_compute = (row for row in shared.rows_todo() if not known.seems_known(row))
    largest = max(to_compute, key=lambda row: row.width * row.height, default=None)
    results = compute_codes(
        ctx,
        book,
        unknown(),
        precision=choice["precision"] if choice else ctx.settings.precision,
        largest=largest,
        on_stats=counted,
        memory_log=f"memory{shared.suffix}.jsonl",
    )

    def keep(result: ChunkCodes) -> None:
        with queues.writing():
            shared.done(_write(ctx, shared.chunks[result.chunk], result, parts.pop(result.chunk), book, names))

    def computed() -> Iterator[ChunkCodes]:
        for result in results:
            chunk = shared.chunks[result.chunk]
            queues.chunk(chunk.name, to_write=kept.unfinished)
            bar.known(len(chunk.images) - len(parts[result.chunk].unknown))
            yield result

    # One writer thread: shards are compressed and made durable while the next chunk is computed, in order.
    with bar.shown, closing(results):
        with OrderedMap(keep, computed(), workers=1, ahead=1) as kept:
            for _ in kept:
                _check_bad(ctx, shared)
                ctx.stop.check()
        queues.end()
        rows = shared.all_rows(ctx.stop, meanwhile=bar.refresh)
    _check_bad(ctx, shared)
    return _finish(ctx, book, rows, queues, choice) if ctx.world.is_rank0 else StageResult(meta={})


def _known(ctx: Context[InferConfig], book: Codebook, names: Sequence[str]) -> KnownCodes:
    """The codes of earlier runs. An array belongs to the name of an image, not to its bytes: it is read each time."""
    if is_foreign(ctx.inputs["model"]) and FOREIGN_FILE.read(ctx.inputs["model"])["kind"] == "arrays":
        return KnownCodes((), book, names)
    return find_known_codes(ctx.draft, ctx.document, book, names)


def can_retry(experiment: Experiment, inputs: Mapping[str, Artefact], made: Artefact) -> bool:
    """Whether one of the images whose file was the cause can be read now. The teacher would fail again as it did."""
    manifest, roots = read_manifest(inputs["data"]), roots_of(experiment, inputs)
    for row in read_quarantine(made):
        if row.get("cause") == TEACHER_FAILED:
            continue
        with suppress(DataError):
            load_unchanged(manifest.image(row["id"]), roots=roots)
            return True
    return False


class _Bar:
    """The number of images that all ranks have finished, shown by rank 0."""

    def __init__(self, ctx: Context[InferConfig], shared: ChunkScheduler, queues: ThroughputLog) -> None:
        from autolabel.progress import Progress

        done, total = shared.num_images
        self.shown = Progress(total=total, initial=done, desc=ctx.node, unit="image", quiet=ctx.quiet)
        self._before, self._seen, self._queues = done, shared.counter("images"), queues

    def count(self, stats: Stats) -> None:
        """After every batch of this rank."""
        self._queues.batch(stats)
        self._show(stats.images, waiting=f"{stats.ready}/{stats.ahead}")

    def known(self, images: int) -> None:
        """After a chunk: images that need not be computed."""
        if images:
            self._show(images)

    def refresh(self) -> None:
        """Show the progress of the other ranks."""
        self._show(0)

    def _show(self, images: int, **fields: object) -> None:
        seen = self._before + self._seen.add(images)
        self.shown.update(seen - self.shown.done, **fields)


def _chunks(manifest: Manifest, size: int) -> list[Chunk]:
    """First the images to label, then the validation images."""
    from autolabel.data.manifest import unlabelled_images

    chunks = []
    for prefix, split, rows in (("codes", "train", unlabelled_images(manifest)), ("val", "val", manifest.split("val"))):
        for number, members in enumerate(split_rows(rows, size)):
            chunks.append(Chunk(f"{prefix}-{number:05}.h5", split, members))
    return chunks


def _say_known(ctx: Context[InferConfig], shared: ChunkScheduler, known: KnownCodes) -> None:
    """Tell how many images need not be computed, and how many must be because the environment has changed."""
    if ctx.quiet or not ctx.world.is_rank0:
        return
    number, other = known.count(shared.rows_todo()), known.of_other_environments(shared.rows_todo())
    if number:
        computed = sum(1 for _ in shared.rows_todo()) - number
        print_err(f"{ctx.node}: {number} images are known from earlier runs, {computed} are computed")
    if other.images:
        again = sum(row.sha256 in other.images for row in shared.rows_todo())
        what = f"codes of another environment ({', '.join(other.changes)}): computed again"
        print_err(f"{ctx.node}: {again} images have {what}")


def _write(
    ctx: Context[InferConfig],
    chunk: Chunk,
    result: ChunkCodes,
    known: KnownChunk,
    book: Codebook,
    class_names: Sequence[str],
) -> ChunkRow:
    from autolabel.labels.shards import write_shard

    bad_ids = {id_ for id_, _ in result.bad}
    held = [row for row in chunk.images if row.id not in bad_ids]
    data = known.shard
    if data is None:
        codes = known.merged(chunk.images, result.codes)
        data = write_shard(codes, book, class_names=class_names, split=chunk.split)
    entry = ctx.draft.write(chunk.name, data)
    paths = {row.id: row.path for row in chunk.images}
    bad = [_quarantined(id_, paths[id_], error) for id_, error in result.bad]
    return ChunkRow(
        name=chunk.name,
        split=chunk.split,
        ids=[row.id for row in held],
        inputs=[row.sha256 for row in held],
        computed=len(result.codes),
        bytes=entry.size,
        sha256=entry.sha256,
        bad=bad,
    )


def _quarantined(image_id: str, path: str, error: ImageError) -> QuarantinedImage:
    image = QuarantinedImage(id=image_id, path=path, reason=str(error))
    return image if isinstance(error, UnreadableImage) else QuarantinedImage(**image, cause=TEACHER_FAILED)


def _check_bad(ctx: Context[InferConfig], shared: ChunkScheduler) -> None:
    limit = ctx.experiment.data.max_bad
    if shared.num_bad > limit and shared.bad:  # only a rank that met one itself can name it
        what = (
            f"{shared.num_bad} images cannot be used and data.max_bad allows {limit}; first: {shared.bad[0]['reason']}"
        )
        raise DataError(ctx.node, what, "repair them or raise data.max_bad")


def _finish(
    ctx: Context[InferConfig],
    book: Codebook,
    rows: list[ChunkRow],
    queues: ThroughputLog,
    choice: PrecisionChoice | None,
) -> StageResult:
    shards = [ShardEntry(row["name"], row["split"], tuple(row["ids"]), tuple(row["inputs"])) for row in rows]
    write_shard_index(ctx.draft, book, shards)
    bad = [item for row in rows for item in row["bad"]]
    write_quarantine(ctx.draft, bad)
    if choice:
        PRECISION_FILE.write(ctx.draft, choice)
    images, computed = sum(len(row["ids"]) for row in rows), sum(row["computed"] for row in rows)
    counts = {split: sum(len(row["ids"]) for row in rows if row["split"] == split) for split in ("train", "val")}
    return StageResult(
        meta=CodesMeta(to_label=counts["train"], val=counts["val"], edges=list(book.edges)),
        digests={row["name"]: row["sha256"] for row in rows},
        bad_items=len(bad),
        provenance={
            "queues": queues.summary(),
            "images": {"computed": computed, "known": images - computed},
            **({"precision": choice} if choice else {}),
        },
    )


INFER = Stage(
    name="infer",
    version=11,
    output="codes",
    inputs={"data": "manifest", "model": "weights"},
    run=run,
    reads=reads,
    check=check,
    depends_on=frozenset({VERSIONS, DEVICE}),
    uses=infer_uses,
    parallel=True,
    memory_setting="runtime.infer_batch",
    disk_estimate=disk_estimates.infer,
    can_retry=can_retry,
)
