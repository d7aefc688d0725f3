"""Codes that the infer step computes, by a network of ours or by a foreign teacher."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autolabel.artifacts import read_network
from autolabel.config.schema import InferConfig
from autolabel.errors import DataError, UnreadableImage
from autolabel.flow.stage import Context
from autolabel.hardware import resolve_device, usable_cores
from autolabel.progress import print_err
from autolabel.stages.foreign import foreign_chunks, is_foreign, open_foreign

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.data.schema import ImageRow
    from autolabel.inference.engine import ChunkCodes, Stats
    from autolabel.inference.model import InferenceModel
    from autolabel.labels.codebook import Codebook
    from autolabel.models import Network, NetworkCard


def compute_codes(
    ctx: Context[InferConfig],
    book: Codebook,
    chunks: Iterator[tuple[int, Sequence[ImageRow]]],
    *,
    precision: str,
    largest: ImageRow | None,
    on_stats: Callable[[Stats], None],
    memory_log: str,
) -> Generator[ChunkCodes, None, None]:
    """Codes of the images of each chunk, in order; `largest` is the largest of these images.

    `precision` is that of a network, fp32 or bf16; a foreign teacher has its own.
    """
    if is_foreign(ctx.inputs["model"]):
        load, jobs = partial(load_unchanged, roots=ctx.roots()), ctx.runtime.jobs or usable_cores()
        teacher = open_foreign(ctx.inputs["model"], ctx.experiment.teacher.foreign)
        return foreign_chunks(teacher, book, chunks, load=load, on_stats=on_stats, jobs=jobs)
    prepared = prepare_network(ctx, book, *read_network(ctx.inputs["model"]), precision=precision, largest=largest)
    return network_codes(ctx, prepared, chunks, on_stats=on_stats, memory_log=memory_log)


class PreparedNetwork(NamedTuple):
    teacher: InferenceModel
    together: int  # images that threads work on


def prepare_network(
    ctx: Context[InferConfig],
    book: Codebook,
    model: Network,
    card: NetworkCard,
    *,
    precision: str,
    largest: ImageRow | None,
) -> PreparedNetwork:
    """The network in a number format, for images of up to the size of `largest`; `model` stays as it is."""
    jobs = ctx.runtime.jobs or usable_cores()
    teacher = _teacher(ctx, book, model, card, precision)
    return PreparedNetwork(teacher, _parallel_images(ctx, model, largest, jobs, precision))


def network_codes(
    ctx: Context[InferConfig],
    network: PreparedNetwork,
    chunks: Iterator[tuple[int, Sequence[ImageRow]]],
    *,
    on_stats: Callable[[Stats], None],
    memory_log: str,
) -> Generator[ChunkCodes, None, None]:
    """As `compute_codes`, by a network that is prepared; it can be used again."""
    from autolabel.inference.engine import infer_chunks

    return infer_chunks(
        network.teacher,
        chunks,
        load=partial(load_unchanged, roots=ctx.roots()),
        batch=ctx.runtime.infer_batch,
        decoders=network.together,
        window=ctx.settings.window,
        overlap=ctx.settings.overlap,
        on_stats=on_stats,
        on_retry=lambda limit: ctx.draft.log_append(memory_log, json.dumps({"batch": limit})),
    )


def load_unchanged(row: ImageRow, *, roots: Mapping[str, Path]) -> NDArray[np.uint8]:
    """The image; one that changed or vanished since the manifest was built is as bad as one that does not decode."""
    from autolabel.data.loaders import load_image

    try:
        return load_image(row, roots=roots)
    except DataError as error:
        raise UnreadableImage(row.path, error.what, error.remedy) from error  # the same words wherever the data lies


def _teacher(
    ctx: Context[InferConfig], book: Codebook, model: Network, card: NetworkCard, precision: str
) -> InferenceModel:
    from autolabel.inference.model import InferenceModel

    return InferenceModel(
        model,
        card,
        book,
        scales=ctx.settings.scales,
        flip=ctx.settings.flip,
        device=resolve_device(ctx.runtime.device),
        precision=precision,
        static=ctx.runtime.compile,
    )


def _parallel_images(
    ctx: Context[InferConfig], model: Network, largest: ImageRow | None, jobs: int, precision: str
) -> int:
    """Number of images that threads work on: fewer than `jobs` on a CPU whose memory would not suffice.

    The codes do not depend on it. `largest` is of the images still to compute. If memory may not suffice even for that
    one alone, this says so and the work goes on: the count is an estimate.
    """
    from autolabel.hardware import free_memory
    from autolabel.inference.memory import WindowChooser

    if largest is None or resolve_device(ctx.runtime.device) != "cpu":
        return jobs
    fit = WindowChooser(
        model,
        ctx.settings.scales,
        flip=ctx.settings.flip,
        precision=precision,
        free=lambda: free_memory() // ctx.world.local_size,
    )
    height, width = ctx.settings.window or (largest.height, largest.width)
    size = min(height, largest.height), min(width, largest.width)
    together = fit.parallel(*size, jobs)
    if together == 1 and (shortage := fit.shortage(*size)) and not ctx.quiet:
        print_err(f"{ctx.node}: {shortage}; goes on with one image at a time (infer.window or lower scales take less)")
    return together
