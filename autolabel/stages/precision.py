"""The choice of `infer.precision = "auto"`: measured once on some images, recorded, and kept by every later run.

Time decides together with the labels, and a clock is never the same twice. So the choice is in the draft before the
first code: a resumed run, and a run for more images with the same network and settings in the same environment, take
the recorded one. Codes of the other format never count as known.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from autolabel.artifacts import PRECISION_FILE, PrecisionChoice, read_network
from autolabel.config.schema import InferConfig
from autolabel.errors import StoreError
from autolabel.flow.environment import DEVICE, PRECISION, VERSIONS
from autolabel.flow.stage import Context
from autolabel.hardware import resolve_device
from autolabel.progress import print_err
from autolabel.stages.computed_codes import PreparedNetwork, network_codes, prepare_network
from autolabel.stages.foreign import is_foreign
from autolabel.stages.known_codes import earlier_work, other_environment
from autolabel.store.files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from autolabel.data.schema import ImageRow
    from autolabel.inference.precision import Agreement
    from autolabel.labels.codebook import Codebook
    from autolabel.stages.chunk_scheduler import Chunk

_FEWEST, _MOST, _ONE_IN = 2, 8, 16  # images to measure on: a sixteenth of all, within these bounds


_FIELDS = PrecisionChoice.__annotations__.keys()


class _Measured(NamedTuple):
    codes: dict[str, np.ndarray]  # (H, W) by image id; without images that could not be used
    seconds: float


def chosen_precision(ctx: Context[InferConfig], book: Codebook, chunks: Sequence[Chunk]) -> PrecisionChoice | None:
    """The number format of this step; None where nothing is to be chosen. A collective.

    `chunks` hold all images of the step. The choice is stated in the draft: in its data, and in its environment.
    """
    if ctx.settings.precision != "auto" or is_foreign(ctx.inputs["model"]):
        return None
    message = None
    if ctx.world.is_rank0:
        choice = _recorded(ctx) or _measured(ctx, book, _sample(chunks))
        PRECISION_FILE.write(ctx.draft, choice)
        message = json.dumps(choice).encode()
    message = ctx.world.broadcast_bytes(message)
    assert message is not None
    found: PrecisionChoice = json.loads(message)
    environments = [*ctx.draft.environments[:-1], {**ctx.draft.environments[-1], PRECISION: found["precision"]}]
    if ctx.world.is_rank0:
        ctx.draft.set_environments(environments)
        if not ctx.quiet:
            print_err(f"{ctx.node}: {found['precision']}: {found['reason']}")
    else:
        ctx.draft.environments = environments
    return found


def _recorded(ctx: Context[InferConfig]) -> PrecisionChoice | None:
    """The choice of this draft, or else of the newest work with the same network, settings, versions and device."""
    draft = ctx.draft
    stated = _stated(draft.environments)
    if stated is not None:
        return _read(draft.data, stated) or _choice(ctx, stated, "as in the part of the work that is done", [], None)
    for earlier in earlier_work(draft, ctx.document):
        if not other_environment(earlier.environments, draft.environments, (VERSIONS, DEVICE)):
            choice = _read(earlier.data, _stated(earlier.environments))
            if choice is not None and choice["images"]:  # without images, nothing was measured
                return choice
    return None


def _stated(environments: Sequence[Mapping[str, Any]]) -> str | None:
    return next((environment[PRECISION] for environment in environments if PRECISION in environment), None)


def _read(data: Path, stated: str | None) -> PrecisionChoice | None:
    """The choice in the data of an artefact, which may be damaged: None unless it is the one that is `stated`."""
    with suppress(StoreError, OSError, ValueError):
        found = json.loads(read_regular(data / PRECISION_FILE.name))
        if isinstance(found, dict) and found.keys() == _FIELDS and found["precision"] == stated:
            return cast("PrecisionChoice", found)
    return None


def _sample(chunks: Sequence[Chunk]) -> list[ImageRow]:
    """Some of the images, by the digests of their files: the same ones in every run, and as if drawn by chance."""
    number = min(max(_FEWEST, sum(len(chunk.images) for chunk in chunks) // _ONE_IN), _MOST)
    rows = (row for chunk in chunks for row in chunk.images)
    return nsmallest(number, rows, key=lambda row: (row.sha256, row.id))


def _measured(ctx: Context[InferConfig], book: Codebook, rows: Sequence[ImageRow]) -> PrecisionChoice:
    import numpy as np
    import torch

    from autolabel.inference.precision import FASTER, agreement, has_fast_bf16

    device = torch.device(resolve_device(ctx.runtime.device))
    if not has_fast_bf16(device):
        return _choice(ctx, "fp32", "this device has no instructions for bf16", [], None)
    if not ctx.quiet:
        print_err(f"{ctx.node}: compares fp32 and bf16 on {len(rows)} images")
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    model, card = read_network(ctx.inputs["model"])
    largest = max(rows, key=lambda row: row.width * row.height, default=None)

    def measured(precision: str) -> _Measured:
        """One format at a time: the prepared network is dropped before the next one is made."""
        network = prepare_network(ctx, book, model, card, precision=precision, largest=largest)
        _codes(ctx, network, rows[:1], lambda: 0.0)  # kernels and files are no part of the comparison
        return _codes(ctx, network, rows, clock)

    half, full = measured("bf16"), measured("fp32")
    ids = sorted(full.codes)
    other = [half.codes.get(id_, np.full_like(full.codes[id_], book.invalid)) for id_ in ids]
    found = agreement(book, [full.codes[id_] for id_ in ids], other)
    ctx.draft.log_append("precision.jsonl", json.dumps({"fp32": full.seconds, "bf16": half.seconds}))
    if not ids:
        return _choice(ctx, "fp32", "no image of the sample could be used", ids, None)
    number = "1 image" if len(ids) == 1 else f"{len(ids)} images"
    same = f"{_percent(found.fraction)} of the labels of {number} are those of fp32"
    if found.fraction < ctx.settings.agreement:
        wanted = f"{100 * ctx.settings.agreement:g} %"
        return _choice(ctx, "fp32", f"with bf16 {same}, fewer than {wanted}", ids, found)
    if half.seconds > FASTER * full.seconds:
        return _choice(ctx, "fp32", f"with bf16 {same}, but bf16 is not faster here", ids, found)
    return _choice(ctx, "bf16", same, ids, found)


def _choice(
    ctx: Context[InferConfig], precision: str, reason: str, ids: list[str], found: Agreement | None
) -> PrecisionChoice:
    return PrecisionChoice(
        precision=precision,
        reason=reason,
        agreement=None if found is None else round(found.fraction, 6),
        wanted=ctx.settings.agreement,
        images=ids,
    )


def _codes(
    ctx: Context[InferConfig], network: PreparedNetwork, rows: Sequence[ImageRow], clock: Callable[[], float]
) -> _Measured:
    start = clock()
    results = network_codes(
        ctx, network, iter([(0, rows)]), on_stats=lambda stats: ctx.stop.check(), memory_log="memory.jsonl"
    )
    codes = {id_: found for result in results for id_, found in result.codes}
    return _Measured(codes, clock() - start)


def _percent(fraction: float) -> str:
    """Rounded down, so that a fraction below a limit never looks like the limit."""
    return f"{int(10_000 * fraction) / 100:.2f} %"
