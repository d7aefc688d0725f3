"""Stages teacher and student: one function, two choices of labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from autolabel.artifacts import TRAINED_ON, WEIGHTS, open_manifest, require_labels
from autolabel.config.schema import TrainConfig
from autolabel.distributed import ProcessGroup
from autolabel.errors import ConfigError
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult, all_settings
from autolabel.progress import print_err
from autolabel.stages import disk_estimates
from autolabel.stages.initial_model import InitialModel, initial_identity, is_from_scratch, load_initial_model
from autolabel.stages.label import WEIGHTS_INDEX

if TYPE_CHECKING:
    from autolabel.models import NetworkCard

CHECKPOINT = "checkpoint.pt"
PRETRAINED = "pretrained"  # in the remarks of a card, and in what is said of every artefact made from it


def identity(settings: TrainConfig) -> dict[str, Any]:
    """Initial weights count by their bytes, not by where they lie; how often to save changes nothing."""
    document = all_settings(settings)
    document.pop("checkpoint_every")
    return document | initial_identity(settings)


def check_teacher(ahead: PreflightContext) -> None:
    """There must be labels to train on, if it is trained, and a network as the settings say."""
    if ahead.settings.epochs:
        require_labels(ahead.data, "train", ahead.settings.labels, "choose other layers for teacher.labels")
    _check(ahead, ahead.settings.labels)


def check_student(ahead: PreflightContext) -> None:
    """The labels to train on are looked for when they are put together; their weights must be written."""
    if ahead.settings.label_weights != "none" and "labels" in ahead.inputs and not ahead.inputs["labels"].weights:
        what = "the label sets hold no weights"
        raise ConfigError(
            "student.label_weights", what, "set label.weights = true, and label.threshold as low as you like"
        )
    _check(ahead, ahead.inputs["fused"].layers)


def _check(ahead: PreflightContext, layers: tuple[str, ...]) -> None:
    from autolabel.data.sampling import check_phases

    check_phases(ahead.settings, layers=layers, names=ahead.data.classes.names)
    _check_batch(ahead, layers)
    check_network(ahead)


def _check_batch(ahead: PreflightContext, layers: tuple[str, ...]) -> None:
    """All epochs must fill a batch, as far as their length is known before the labels are put together."""
    from autolabel.training.loop import num_steps

    images = (image for image in ahead.data.images if layers[0] == "fine" and image.split == "train")
    num_fine = sum(any(label.role == "fine" for label in image.labels) for image in images)
    epoch_images = ahead.settings.epoch_images or num_fine
    if ahead.settings.epochs and epoch_images:
        num_steps(ahead.settings, epoch_images)


def check_network(ahead: PreflightContext) -> None:
    """The network must be known; weights to start from must be there and belong to it; a batch must be shareable."""
    import torch

    ProcessGroup(size=ahead.num_processes).local_batch_size(ahead.settings.batch, where=ahead.settings.place("batch"))
    with torch.device("meta" if is_from_scratch(ahead.settings) else "cpu"):  # no memory where shapes say it all
        load_initial_model(ahead.settings, ahead.data.classes.names)


def run_teacher(ctx: Context) -> StageResult:
    """Train on the label layers the experiment names."""
    return _train(ctx, ctx.settings.labels)


def run_student(ctx: Context) -> StageResult:
    """Train on what the fuse stage put together: its manifest holds one label an image."""
    return _train(ctx, ("fine", "auto", "coarse"), manifest_name="fused")


def _train(ctx: Context, roles: tuple[str, ...], manifest_name: str = "data") -> StageResult:
    import numpy as np
    import torch

    from autolabel.data.loaders import ManifestDataset
    from autolabel.data.manifest import training_rows, val_rows
    from autolabel.data.schema import ROLES
    from autolabel.models import network_to_bytes
    from autolabel.training.loop import TrainingData, fit

    settings: TrainConfig = ctx.settings
    manifest = open_manifest(ctx.inputs["data"])
    torch.manual_seed(ctx.seed)
    begun = load_initial_model(settings, manifest.classes.names)
    if ctx.world.is_rank0:
        _say(ctx, begun.note)
    if settings.epochs == 0:
        return _as_it_is(ctx, begun)
    model, card = begun.model, begun.card
    rows = training_rows(open_manifest(ctx.inputs[manifest_name]), roles)
    pairs = partial(ManifestDataset, roots=ctx.roots(), classes=manifest.classes)
    val = val_rows(manifest)
    data = TrainingData(
        train=pairs(rows, confidence=_confidence(ctx)),
        val=pairs(val) if val else None,
        class_names=manifest.classes.names,
        epoch_images=sum(label.role == "fine" for _, label in rows) or len(rows),
        mean=card.mean,
        std=card.std,
        layers=[label.role for _, label in rows],
        counts=np.array([label.counts[:-1] for _, label in rows]),
    )
    result = fit(
        model,
        data,
        settings=settings,
        seed=ctx.seed,
        runtime=ctx.runtime,
        save=partial(ctx.draft.state_write, CHECKPOINT),
        log=lambda row: ctx.draft.log_append("metrics.jsonl", json.dumps(row)),
        stop=ctx.stop,
        resume=ctx.world.broadcast_bytes(ctx.draft.state_read(CHECKPOINT) if ctx.world.is_rank0 else None),
        world=ctx.world,
        desc=ctx.node,
        quiet=ctx.quiet,
    )
    if not ctx.world.is_rank0:
        return StageResult(meta={})
    ctx.draft.write(WEIGHTS, network_to_bytes(model.cpu(), card))
    _write_trained_on(ctx, (image.sha256 for image, _ in rows))
    layers = Counter(label.role for _, label in rows)
    meta = {
        "steps": result.steps,
        "images": len(rows),
        "trained_on": " + ".join(role for role in ROLES if layers[role]),
        "miou": result.metrics.get("miou"),
        **_pretrained(card),
    }
    return StageResult(meta=meta, provenance={"history": result.history})


def _confidence(ctx: Context) -> Mapping[str, Mapping[str, str]] | None:
    """Files of the confidence of auto labels, by image id, where the settings ask for it and auto labels are read."""
    if getattr(ctx.settings, "label_weights", "none") == "none" or "labels" not in ctx.inputs:
        return None
    files: dict[str, dict[str, str]] = json.loads(ctx.inputs["labels"].read(WEIGHTS_INDEX))
    return files


def _say(ctx: Context, text: str) -> None:
    """What a person should know of the network, on stderr and in the log."""
    if text:
        ctx.draft.log_append("metrics.jsonl", json.dumps({"kind": "note", "text": text}))
        if not ctx.quiet:
            print_err(f"{ctx.node}: {text}")


def _as_it_is(ctx: Context, begun: InitialModel) -> StageResult:
    """No training: the artefact holds the network that was given."""
    from autolabel.models import network_to_bytes

    if not ctx.world.is_rank0:
        return StageResult(meta={})
    ctx.draft.write(WEIGHTS, network_to_bytes(begun.model, begun.card))
    _write_trained_on(ctx, ())
    meta = {"steps": 0, "images": 0, "trained_on": "unknown data", "miou": None}
    return StageResult(meta={**meta, "never_predicted": list(begun.missing), **_pretrained(begun.card)})


def _pretrained(card: NetworkCard) -> dict[str, Any]:
    """Where its first weights come from and under which licence, if that is known."""
    return {key: value for key, value in card.extra.items() if key == PRETRAINED}


def _write_trained_on(ctx: Context, digests: Iterable[str]) -> None:
    """For the leak guard, which compares digests: a copy of an image under another name has the same.

    What weights that were given have been trained on before is not known.
    """
    document = {"images": sorted(digests), "complete": is_from_scratch(ctx.settings)}
    ctx.draft.write(TRAINED_ON, json.dumps(document).encode())


TEACHER = Stage(
    "teacher",
    2,
    "weights",
    {"data": "manifest"},
    run_teacher,
    identity,
    check_teacher,
    parallel=True,
    room=disk_estimates.train,
)
STUDENT = Stage(
    "student",
    2,
    "weights",
    {"data": "manifest", "fused": "fused", "labels?": "labels"},
    run_student,
    identity,
    check_student,
    parallel=True,
    room=disk_estimates.train,
)
