"""Stages teacher and student: one function, two choices of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from autolabel.artifacts import (
    CONFIDENCE_FILE,
    TRAINED_ON_FILE,
    TrainedOn,
    TrainingMeta,
    UntrainedMeta,
    append_training_log,
    origin_of,
    read_corrected,
    read_manifest,
    training_meta,
    write_network,
)
from autolabel.config.networks import TEACHER_WEIGHTS, StudentConfig, TeacherConfig, TrainConfig
from autolabel.config.schema import FuseConfig, LabelConfig
from autolabel.data.parts import CLASSES, label_part
from autolabel.distributed import ProcessGroup
from autolabel.errors import ConfigError, DataError
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult, all_settings
from autolabel.progress import print_err
from autolabel.stages import disk_estimates
from autolabel.stages.foreign import check_foreign, foreign_identity, run_foreign
from autolabel.stages.initial_model import (
    InitialModel,
    check_settings,
    initial_identity,
    is_from_scratch,
    load_initial_model,
)
from autolabel.stages.uses import training_uses
from autolabel.store import InputDigests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.data.loaders import ConfidenceFile
    from autolabel.data.manifest import Manifest
    from autolabel.training.tracking import Tracking

CHECKPOINT = "checkpoint.pt"
TRACK_FOLDER = "track"  # in the work folder: what trackers write


def identity(settings: TrainConfig, files: InputDigests) -> dict[str, Any]:
    """Initial weights count by their bytes, not by where they lie; how often to save changes nothing."""
    document = all_settings(settings)
    document.pop("checkpoint_every")
    return document | initial_identity(settings, files)


def teacher_identity(settings: TeacherConfig, files: InputDigests) -> dict[str, Any]:
    """As `identity`; a foreign teacher counts by its bytes, and enters only where there is one."""
    document = identity(settings, files)
    document.pop("foreign", None)
    return document if settings.foreign is None else document | {"foreign": foreign_identity(settings.foreign, files)}


def teacher_reads(settings: TeacherConfig) -> Mapping[str, tuple[str, ...]]:
    """The layers it trains on and the labels it is validated on; the classes alone where it is not trained."""
    if not settings.epochs:
        return {"data": (CLASSES,)}
    return {"data": (CLASSES, *(label_part("train", layer) for layer in settings.labels), label_part("val", "fine"))}


def student_reads(settings: StudentConfig) -> Mapping[str, tuple[str, ...]]:
    """Its training labels are in the manifest of the fuse stage."""
    return {"data": (CLASSES, label_part("val", "fine"))}


def check_teacher(ahead: PreflightContext[TeacherConfig]) -> None:
    """There must be labels to train on, if it is trained, and a network as the settings say."""
    if ahead.settings.foreign is not None:
        check_foreign(ahead)
        return
    if ahead.settings.epochs:
        ahead.require_labels("train", ahead.settings.labels, "choose other layers for teacher.labels")
    _check(ahead, ahead.settings.labels)


def check_student(ahead: PreflightContext[StudentConfig]) -> None:
    """The label stage must write weights if they are asked for; labels are looked for once they are fused."""
    from autolabel.training.auto_images import check_online

    wants_confidence = ahead.settings.label_weights != "none" and "labels" in ahead.inputs
    if wants_confidence and not ahead.input_settings("labels", LabelConfig).weights:
        what = "the label sets hold no weights"
        raise ConfigError("student.label_weights", what, "set label.weights = true, and a low label.threshold")
    layers = ahead.input_settings("fused", FuseConfig).layers
    if ahead.settings.method == "weak_to_strong":
        check_online(ahead.settings, layers=layers, num_classes=len(ahead.data.classes.names))
    if ahead.settings.weights == TEACHER_WEIGHTS:
        _check_same_network(ahead)
    _check(ahead, layers)


def _check_same_network(ahead: PreflightContext[StudentConfig]) -> None:
    """A student that starts from its teacher's weights needs its teacher's network."""
    from autolabel.models.checkpoint import FREE

    teacher = ahead.input_settings("initial", TrainConfig)
    check_settings(ahead.settings)
    if (isinstance(teacher, TeacherConfig) and teacher.foreign is not None) or teacher.huggingface is not None:
        what = "its teacher is another framework's, and its weights are no start for a network of ours"
        raise ConfigError("student.weights", what, 'name other weights, as in "imagenet", or set student.huggingface')
    for key, value in ahead.settings.model:
        if key not in FREE and value != getattr(teacher.model, key):
            what = f"is {value!r}, and its teacher, whose weights it starts from, has {getattr(teacher.model, key)!r}"
            raise ConfigError(f"student.model.{key}", what, "make them equal, or name other student.weights")


def _check(ahead: PreflightContext[TrainConfig], layers: tuple[str, ...]) -> None:
    from autolabel.data.sampling import check_phases
    from autolabel.training.trackers import check_trackers

    check_trackers(ahead.runtime.track)
    check_phases(ahead.settings, layers=layers, names=ahead.data.classes.names)
    _check_batch(ahead, layers)
    check_network(ahead)


def _check_batch(ahead: PreflightContext[TrainConfig], layers: tuple[str, ...]) -> None:
    """All epochs must fill a batch, as far as their length is known before the labels are fused."""
    from autolabel.training.loop import num_steps

    images = (image for image in ahead.data.images if layers[0] == "fine" and image.split == "train")
    num_fine = sum(any(label.role == "fine" for label in image.labels) for image in images)
    epoch_images = ahead.settings.epoch_images or num_fine
    if ahead.settings.epochs and epoch_images:
        num_steps(ahead.settings, epoch_images)


def check_network(ahead: PreflightContext[TrainConfig]) -> None:
    """The network must be known, its initial weights must exist and fit, and the ranks must share a batch evenly."""
    from autolabel.models.skeleton import on_meta

    ProcessGroup(size=ahead.num_processes).local_batch_size(ahead.settings.batch)
    if ahead.settings.weights == TEACHER_WEIGHTS:
        return  # its teacher's own check is the check
    with on_meta() if is_from_scratch(ahead.settings) else nullcontext():  # no memory where shapes say it all
        load_initial_model(ahead.settings, ahead.data.classes.names)


def run_teacher(ctx: Context[TeacherConfig]) -> StageResult:
    """Train on the label layers the experiment names, or take a foreign teacher as it is."""
    data = read_manifest(ctx.inputs["data"])
    if ctx.settings.foreign is not None:
        return run_foreign(ctx, data.classes.names)
    return _train(ctx, data, data, ctx.settings.labels)


def run_student(ctx: Context[StudentConfig]) -> StageResult:
    """Train on the manifest of the fuse stage, which holds one label per image."""
    data, fused = read_manifest(ctx.inputs["data"]), read_manifest(ctx.inputs["fused"])
    bases = {row["id"]: row["base"] or "auto" for row in read_corrected(ctx.inputs["fused"])}
    return _train(ctx, data, fused, ("corrected", "fine", "auto", "coarse"), confidence=_confidence(ctx), bases=bases)


def _train(
    ctx: Context[TrainConfig],
    manifest: Manifest,
    labelled: Manifest,
    roles: tuple[str, ...],
    *,
    confidence: Mapping[str, ConfidenceFile] | None = None,
    bases: Mapping[str, str] | None = None,
) -> StageResult:
    """Train on the labels of `labelled` with one of `roles`; validate on the images of `manifest`, the data's own.

    `bases` holds the label layer below each corrected label, by image id: corrected images are drawn as those of it.
    """
    import numpy as np
    import torch

    from autolabel.data.loaders import ManifestDataset
    from autolabel.data.manifest import training_rows, val_rows
    from autolabel.data.schema import ROLES
    from autolabel.training.loop import TrainingData, fit

    settings = ctx.settings
    torch.manual_seed(ctx.seed)
    initial = load_initial_model(settings, manifest.classes.names, ctx.identity, ctx.inputs.get("initial"))
    if ctx.world.is_rank0:
        _say(ctx, initial.note)
    if settings.epochs == 0:
        return _as_it_is(ctx, initial)
    model, card = initial.model, initial.card
    rows = training_rows(labelled, roles)
    layers = [(bases or {}).get(image.id, label.role) for image, label in rows]
    counts = np.array([label.counts for _, label in rows])
    _check_pixels(ctx, counts.sum(axis=0), manifest.classes.names)
    pairs = partial(ManifestDataset, roots=ctx.roots(), classes=manifest.classes)
    val = val_rows(manifest)
    data = TrainingData(
        train=pairs(rows, confidence=confidence),
        val=pairs(val) if val else None,
        class_names=manifest.classes.names,
        epoch_images=layers.count("fine") or len(rows),
        mean=card.mean,
        std=card.std,
        layers=layers,
        counts=counts[:, :-1],
    )
    with _tracking(ctx) as tracking:
        result = fit(
            model,
            data,
            settings=settings,
            seed=ctx.seed,
            runtime=ctx.runtime,
            save=tracking.save,
            log=tracking.log,
            stop=ctx.stop,
            resume=ctx.world.broadcast_bytes(ctx.draft.state_read(CHECKPOINT) if ctx.world.is_rank0 else None),
            world=ctx.world,
            desc=ctx.node,
            quiet=ctx.quiet,
        )
    if not ctx.world.is_rank0:
        return StageResult(meta={})
    write_network(ctx.draft, model.cpu(), card)
    _write_trained_on(ctx, (image.sha256 for image, _ in rows))
    present = {label.role for _, label in rows}
    meta: TrainingMeta = {
        "steps": result.steps,
        "images": len(rows),
        "trained_on": " + ".join(role for role in ROLES if role in present),
        "miou": result.metrics.get("miou"),
        **origin_of(card.extra),
    }
    return StageResult(meta=meta, provenance={"history": result.history, "curve": result.curve})


def _tracking(ctx: Context[TrainConfig]) -> Tracking:
    """The trackers of rank 0. A tracker gets settings that are single values."""
    from autolabel.training.tracking import Tracking

    plain = {key: value for key, value in all_settings(ctx.settings).items() if isinstance(value, str | int | float)}
    return Tracking(
        ctx.draft,
        ctx.runtime.track if ctx.world.is_rank0 else (),
        step=ctx.node,
        project=ctx.experiment.name,
        folder=ctx.draft.folder.parent.parent / TRACK_FOLDER,
        settings=plain | {"seed": ctx.seed},
        save=partial(ctx.draft.state_write, CHECKPOINT),
    )


def _check_pixels(ctx: Context[TrainConfig], totals: NDArray[np.int64], names: tuple[str, ...]) -> None:
    """DataError if no training pixel has a class; a note for the classes that no training pixel has."""
    if not totals[:-1].any():
        what = f"all {totals[-1]:,} pixels of the training labels are ignored, so there is nothing to learn from"
        raise DataError(ctx.node, what, "check the ids of the masks, the class list, and label.threshold")
    missing = [name for name, total in zip(names, totals[:-1], strict=True) if not total]
    if missing and ctx.world.is_rank0:
        _say(ctx, f"no training pixel has the class {', '.join(missing)}: it cannot be learnt")


def _confidence(ctx: Context[StudentConfig]) -> Mapping[str, ConfidenceFile] | None:
    """Files of the confidence of auto labels, by image id, where the settings ask for it and auto labels are read."""
    if ctx.settings.label_weights == "none" or "labels" not in ctx.inputs:
        return None
    return CONFIDENCE_FILE.read(ctx.inputs["labels"])


def _say(ctx: Context[TrainConfig], text: str) -> None:
    """A note for people about the network, on stderr and in the log."""
    if text:
        append_training_log(ctx.draft, {"kind": "note", "text": text})
        if not ctx.quiet:
            print_err(f"{ctx.node}: {text}")


def _as_it_is(ctx: Context[TrainConfig], initial: InitialModel) -> StageResult:
    """No training: the artefact holds the initial network."""
    if not ctx.world.is_rank0:
        return StageResult(meta={})
    write_network(ctx.draft, initial.model, initial.card)
    _write_trained_on(ctx, ())
    meta: UntrainedMeta = {
        "steps": 0,
        "images": 0,
        "trained_on": training_meta(ctx.inputs["initial"])["trained_on"] if "initial" in ctx.inputs else "unknown data",
        "miou": None,
        "never_predicted": list(initial.missing),
        **origin_of(initial.card.extra),
    }
    return StageResult(meta=meta)


def _write_trained_on(ctx: Context[TrainConfig], digests: Iterable[str]) -> None:
    """The list is not complete where the initial weights are not a teacher's and may have seen other images."""
    images, complete = set(digests), is_from_scratch(ctx.settings)
    if "initial" in ctx.inputs:
        before = TRAINED_ON_FILE.read(ctx.inputs["initial"])
        images, complete = images.union(before["images"]), before["complete"]
    TRAINED_ON_FILE.write(ctx.draft, TrainedOn(images=sorted(images), complete=complete))


# Sums over pixels and samples are split by threads and processes, so their last bits depend on both.
ENVIRONMENT = frozenset({"versions", "device", "threads", "processes"})
TEACHER = Stage(
    name="teacher",
    version=3,
    output="weights",
    inputs={"data": "manifest"},
    run=run_teacher,
    key_settings=teacher_identity,
    reads=teacher_reads,
    remark="to start from the old weights, set teacher.weights = '{path}/data/weights.safetensors'",
    check=check_teacher,
    depends_on=ENVIRONMENT,
    uses=training_uses,
    parallel=True,
    memory_setting="runtime.micro_batch",
    disk_estimate=disk_estimates.train,
)
STUDENT = Stage(
    name="student",
    version=3,
    output="weights",
    inputs={"data": "manifest", "fused": "fused", "labels?": "labels", "initial?": "weights"},
    run=run_student,
    key_settings=identity,
    reads=student_reads,
    check=check_student,
    depends_on=ENVIRONMENT,
    uses=training_uses,
    parallel=True,
    memory_setting="runtime.micro_batch",
    disk_estimate=disk_estimates.train,
)
