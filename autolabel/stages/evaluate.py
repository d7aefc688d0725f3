"""Stage evaluate: mIoU on the validation images, and prediction files for a benchmark server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from autolabel.artifacts import (
    EVALUATION_FILE,
    PREDICTIONS,
    EvaluationMeta,
    origin_of,
    read_manifest,
    read_network,
    training_meta,
    write_image_counts,
)
from autolabel.config.schema import EvaluateConfig
from autolabel.data.parts import CLASSES, label_part
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult, all_settings
from autolabel.hardware import resolve_device, usable_cores
from autolabel.stages import disk_estimates
from autolabel.stages.foreign import is_foreign, open_foreign
from autolabel.stages.uses import network_uses
from autolabel.store import InputDigests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def identity(settings: EvaluateConfig, files: InputDigests) -> dict[str, Any]:
    """A gate judges a result, it does not change it."""
    document = all_settings(settings)
    document.pop("min_miou")
    return document


def reads(settings: EvaluateConfig) -> Mapping[str, tuple[str, ...]]:
    return {"data": (CLASSES, label_part("val", "fine"))}


def check(ahead: PreflightContext[EvaluateConfig]) -> None:
    """Without a val image that has a fine label there is nothing to measure."""
    ahead.require_labels("val", ("fine",), "hold a few finely labelled images out for validation")


def run(ctx: Context[EvaluateConfig]) -> StageResult:
    """Multi-scale inference over the val split, one image at a time, at full resolution; ranks take turns."""
    import numpy as np
    import torch

    from autolabel.data.loaders import ManifestDataset
    from autolabel.data.manifest import val_rows
    from autolabel.errors import DataError
    from autolabel.evaluation.confusion import confusion_matrix
    from autolabel.evaluation.intervals import image_counts, intervals
    from autolabel.evaluation.iou import evaluation_result
    from autolabel.evaluation.submission import encode_submission, submission_name
    from autolabel.parallel import OrderedMap
    from autolabel.progress import Progress

    manifest = read_manifest(ctx.inputs["data"])
    rows = val_rows(manifest)
    if not rows:
        raise DataError("manifest", "no val image has a fine label", "nothing to evaluate on: label a few")
    pairs = ManifestDataset(rows, ctx.roots(), manifest.classes)
    names = manifest.classes.names
    device = "cpu" if is_foreign(ctx.inputs["model"]) else resolve_device(ctx.runtime.device)
    predict = _foreign_labels(ctx, len(names)) if is_foreign(ctx.inputs["model"]) else _labels(ctx, device)
    matrix = np.zeros((len(names), len(names) + 1), dtype=np.int64)
    counts = np.zeros((len(rows), len(names), 4), dtype=np.int64)

    def look(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if device == "cpu":
            torch.set_num_threads(1)  # images side by side, one core each
        sample = pairs[index]
        try:
            return predict(rows[index][0].id, sample.image), sample.label
        except DataError as error:
            raise DataError(rows[index][0].path, error.what, error.remedy) from error

    jobs = (ctx.runtime.jobs or usable_cores()) if device == "cpu" else 1  # a GPU takes one image at a time
    mine = range(ctx.world.rank, len(rows), ctx.world.size)
    with (
        Progress(total=len(mine), desc=ctx.node, unit="image", quiet=ctx.quiet) as bar,
        OrderedMap(look, mine, workers=jobs, ahead=jobs) as looks,
    ):
        for index, (prediction, label) in zip(mine, looks, strict=True):
            found = confusion_matrix(prediction, label, len(names))
            matrix += found
            counts[index] = image_counts(found)
            if ctx.settings.predictions:
                name = f"{PREDICTIONS}/{submission_name(rows[index][0].id)}"
                ctx.draft.write(name, encode_submission(prediction, manifest.classes))
            bar.update()
            ctx.stop.check()
    matrix, counts = (ctx.world.all_reduce_sum(torch.from_numpy(table)).numpy() for table in (matrix, counts))
    if not ctx.world.is_rank0:
        return StageResult(meta={})
    result = evaluation_result(matrix, names)
    result["intervals"] = intervals(counts, [row.group for row, _ in rows])
    EVALUATION_FILE.write(ctx.draft, result)
    write_image_counts(ctx.draft, counts)
    training = training_meta(ctx.inputs["model"])
    meta: EvaluationMeta = {
        "miou": result["miou"],
        "accuracy": result["accuracy"],
        "intervals": result["intervals"],
        "images": len(rows),
        "trained_on": training["trained_on"],
        **origin_of(training),
    }
    return StageResult(meta=meta)


def _labels(ctx: Context[EvaluateConfig], device: str) -> Callable[[str, NDArray[np.uint8]], NDArray[np.uint8]]:
    """Labels (H, W) of an image (H, W, 3), by the network."""
    from autolabel.inference.predictor import Predictor

    model, card = read_network(ctx.inputs["model"])
    predictor = Predictor(model, card, scales=ctx.settings.scales, flip=ctx.settings.flip, device=device)
    return lambda image_id, image: predictor.train_ids(image)


def _foreign_labels(
    ctx: Context[EvaluateConfig], num_classes: int
) -> Callable[[str, NDArray[np.uint8]], NDArray[np.uint8]]:
    """Labels by a foreign teacher, whatever `evaluate.scales` says."""
    from autolabel.labels.codebook import REQUIRED_EDGE, Codebook

    teacher = open_foreign(ctx.inputs["model"], ctx.experiment.teacher.foreign)
    book = Codebook(num_classes, (REQUIRED_EDGE,))
    return lambda image_id, image: book.lut(0.0)[teacher.codes(image_id, image, book)]


EVALUATE = Stage(
    name="evaluate",
    version=8,
    output="evaluation",
    inputs={"data": "manifest", "model": "weights"},
    run=run,
    uses=network_uses,
    key_settings=identity,
    reads=reads,
    check=check,
    parallel=True,
    disk_estimate=disk_estimates.evaluate,
)
