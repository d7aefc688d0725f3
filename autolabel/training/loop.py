"""The training loop of teacher and student."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from autolabel.artifacts import TrainingCurve
from autolabel.config.networks import TrainConfig
from autolabel.config.schema import RuntimeConfig
from autolabel.data.crops import CropDataset, batches
from autolabel.data.loaders import CachedDataset, SegmentationDataset, count_classes
from autolabel.data.sampling import EpochSampler, plan_phases
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.errors import SettingError
from autolabel.evaluation.iou import EvaluationResult
from autolabel.hardware import keep_freed_memory, on_device, pin_threads, training_device, usable_cores
from autolabel.losses import training_loss
from autolabel.models.layers import MEAN, STD
from autolabel.progress import Progress, print_err, print_progress
from autolabel.signals import StopFlag, Stopped
from autolabel.training.auto_images import auto_crops, online_threshold
from autolabel.training.checkpoint import checkpoint_to_bytes, restore_checkpoint
from autolabel.training.optim import check_precision
from autolabel.training.trainer import Trainer
from autolabel.training.validate import validate

_QUARTERS = (1, 2, 3)
_OBSERVED_FRACTION = 0.2  # of the images of a training: validations that decide nothing see no more of them
_OWN_STATISTICS = "batch norm sees the images of one process only; the statistics of rank 0 are kept"


@dataclass(frozen=True)
class TrainingData:
    """Training and validation data; `mean` and `std` belong to the initial weights."""

    train: SegmentationDataset
    val: SegmentationDataset | None
    class_names: Sequence[str]
    epoch_images: int  # per epoch if the settings leave it open: the number of finely labelled ones
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    layers: Sequence[str] | None = None  # label layer of each training pair: fine, auto, coarse; None = all fine
    counts: np.ndarray | None = None  # (N, K) pixels per label and class; None: all labels are read and counted first


@dataclass(frozen=True)
class FitResult:
    """`history` holds every validation that decides: step, epoch, miou, accuracy, iou by class name, matrix.

    `metrics` is the validation of the weights that are kept; empty without validation images.
    """

    steps: int
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    curve: TrainingCurve


def fit(
    model: nn.Module,
    data: TrainingData,
    *,
    settings: TrainConfig,
    seed: int,
    runtime: RuntimeConfig,
    save: Callable[[bytes], None],
    log: Callable[[dict[str, Any]], None],
    stop: StopFlag,
    resume: bytes | None = None,
    world: ProcessGroup = SINGLE_PROCESS,
    desc: str = "train",
    quiet: bool = False,
) -> FitResult:
    """Train `model` in place; it ends in eval mode, with the averaged weights if the settings enable them.

    save: receives a checkpoint every `checkpoint_every` steps, which must be durable on return.
    log: receives one JSON-compatible row per step and per validation.
    resume: the last checkpoint that `save` received. The run then ends with the same bits as an uninterrupted one, on
    the same machine with the same number of threads; the number of loader threads does not matter. With another number
    of ranks it still sees the same samples in the same order.
    world: its ranks train together, each on its part of every batch; all of them call this with the same arguments.
    Only `save` and `log` of rank 0 are called.
    Raises Stopped (after a checkpoint), TrainingDiverged, ConfigError, and the errors of reading a sample.
    """
    pin_threads(runtime.threads)
    if training_device(runtime.device) == "cpu":
        keep_freed_memory()
    epoch_images = settings.epoch_images or data.epoch_images
    trainer = _trainer(model, data, settings, seed=seed, epoch_images=epoch_images, runtime=runtime, world=world)
    if resume is not None:
        restore_checkpoint(trainer, resume)
        if world.is_rank0:
            log({"kind": "resume", "step": trainer.step})
            if not quiet:
                print_progress(f"{desc}: goes on after step {trainer.step} of {trainer.total_steps}")
    crops = _crops(data, settings, seed=seed, epoch_images=epoch_images)
    progress = Progress(total=trainer.total_steps, desc=desc, unit="step", initial=trainer.step, quiet=quiet)
    if trainer.statistics_differ and world.is_rank0:
        log({"kind": "note", "text": _OWN_STATISTICS})
        if not quiet:
            print_err(f"{desc}: {_OWN_STATISTICS}")
    with progress as bar, on_device(trainer.device):
        run = _Run(trainer, data, epoch_images, save, log, stop, bar, world)
        run.run(crops, workers=runtime.workers or runtime.jobs or usable_cores())
    if trainer.best is not None:
        model.load_state_dict(trainer.best)
    elif trainer.ema is not None:
        model.load_state_dict(trainer.ema.average)
    model.float().eval()
    return FitResult(trainer.step, trainer.history, _metrics(trainer.history, settings), trainer.curve.result())


def _metrics(history: list[dict[str, Any]], settings: TrainConfig) -> dict[str, Any]:
    """The validation of the weights that are kept: the best or the last one."""
    if not history:
        return {}
    return history[best_of(history)] if settings.keep_best else history[-1]


def best_of(history: Sequence[Mapping[str, Any]]) -> int:
    """The position of the first validation with the best mIoU; an undefined mIoU is the worst."""
    scores = [-1.0 if row["miou"] is None else row["miou"] for row in history]
    return scores.index(max(scores))


def num_steps(settings: TrainConfig, epoch_images: int) -> int:
    """Optimizer steps of a whole training. Batches cross epochs; only the last, incomplete one is dropped."""
    steps = settings.epochs * epoch_images // settings.batch
    if steps < 1:
        what = f"a batch of {settings.batch} is more than the {settings.epochs * epoch_images} images of all epochs"
        raise SettingError("batch", what, "lower batch, or raise epochs or epoch_images")
    return steps


def validation_due(step: int, *, settings: TrainConfig, epoch_images: int, total_steps: int) -> bool:
    """Whether to validate after `step` steps: at the end, and after each multiple of `validate_every` epochs."""
    if step == total_steps:
        return True
    if step == 0 or settings.validate_every == 0:
        return False
    period = settings.validate_every * epoch_images
    return step * settings.batch // period > (step - 1) * settings.batch // period


def observed_steps(settings: TrainConfig, *, total_steps: int, val_images: int) -> frozenset[int]:
    """Steps after which a training without `validate_every` validates too, only for people to see.

    At the quarters, as long as they see few images beside those that are trained on. They decide nothing: `keep_best`
    and `patience` do not count them, so that weights and stage keys do not depend on them.
    """
    images = min(val_images, settings.validate_images or val_images)
    if settings.validate_every or len(_QUARTERS) * images > _OBSERVED_FRACTION * total_steps * settings.batch:
        return frozenset()
    return frozenset(total_steps * quarter // 4 for quarter in _QUARTERS) - {0, total_steps}


def _trainer(
    model: nn.Module,
    data: TrainingData,
    settings: TrainConfig,
    *,
    seed: int,
    epoch_images: int,
    runtime: RuntimeConfig,
    world: ProcessGroup,
) -> Trainer:
    device = torch.device(training_device(runtime.device))
    check_precision(device, settings.precision)
    return Trainer(
        model=model,
        loss=partial(
            training_loss,
            loss=settings.loss,
            aux_weight=settings.aux_weight,
            scale_weight=settings.scale_weight,
            smoothing=settings.label_smoothing,
            hard_below=settings.hard_below,
        ),
        settings=settings,
        seed=seed,
        total_steps=num_steps(settings, epoch_images),
        device=device,
        mean=data.mean,
        std=data.std,
        num_classes=len(data.class_names),
        frequencies=_frequencies(data) if any(settings.class_weights) else None,
        world=world,
        micro_batch=runtime.micro_batch,
        activation_checkpointing=runtime.activation_checkpointing,
        compile=runtime.compile,
        online_threshold=online_threshold(settings),
    )


def _frequencies(data: TrainingData) -> torch.Tensor:
    """Frequencies (K,) of the classes in the fine labels; in all labels where none is fine."""
    counts = count_classes(data.train, len(data.class_names)) if data.counts is None else data.counts
    fine = np.array([layer == "fine" for layer in data.layers or ["fine"] * len(counts)])
    total = torch.from_numpy(counts[fine if fine.any() else ~fine].sum(axis=0, dtype=np.float64))
    return total / total.sum().clamp(min=1)


def _crops(data: TrainingData, settings: TrainConfig, *, seed: int, epoch_images: int) -> CropDataset:
    pairs = CachedDataset(data.train)
    images_by_class: tuple[np.ndarray, ...] = ()
    if settings.class_uniform > 0:
        # Count the labels that are trained on: another threshold leaves other pixels.
        counts = count_classes(pairs, len(data.class_names)) if data.counts is None else data.counts
        images_by_class = tuple(np.flatnonzero(pixels) for pixels in counts.T)
    layers = data.layers or ["fine"] * len(pairs)
    phases = plan_phases(settings, layers=layers, names=data.class_names, images_by_class=images_by_class)
    red, green, blue = (round(255 * m) for m in data.mean)
    return CropDataset(
        pairs,
        EpochSampler(phases, seed, epoch_images, settings.class_uniform),
        augment=settings.augment,
        crop=settings.crop,
        tile=settings.tile,
        fill=(red, green, blue),
        auto=auto_crops(settings, layers),
    )


def _loss_text(loss: float | None) -> str:
    if loss is None:
        return "not finite, step skipped"
    return f"{loss:.3f}" + (" (below 0 is normal with RMI)" if loss < 0 else "")


@dataclass
class _Run:
    trainer: Trainer
    data: TrainingData
    epoch_images: int
    save: Callable[[bytes], None]
    log: Callable[[dict[str, Any]], None]
    stop: StopFlag
    bar: Progress
    world: ProcessGroup

    def __post_init__(self) -> None:
        self._val = None if self.data.val is None else CachedDataset(self.data.val)
        total, images = self.trainer.total_steps, 0 if self.data.val is None else len(self.data.val)
        self._observed = observed_steps(self.trainer.settings, total_steps=total, val_images=images)

    def run(self, crops: CropDataset, *, workers: int) -> None:
        trainer, batch = self.trainer, self.trainer.settings.batch
        self._validate_if_due()  # the previous run may have stopped during a validation
        loader = batches(
            crops,
            start=trainer.step * batch + self.world.rank,
            stop=trainer.total_steps * batch,
            step=self.world.size,
            batch=self.world.local_batch_size(batch),
            workers=workers,
            pin=trainer.device.type == "cuda",
        )
        clock = time.perf_counter()
        with closing(loader):  # ends its threads on any error
            for samples in loader:
                if self._is_patience_over():
                    break
                row = trainer.train_step(*samples)
                self._report(row, seconds=time.perf_counter() - clock)
                clock = time.perf_counter()
                self._checkpoint_if_due()
                self._validate_if_due()

    def _report(self, row: dict[str, Any], *, seconds: float) -> None:
        epoch = (row["step"] * self.trainer.settings.batch - 1) // self.epoch_images
        self.trainer.curve.add_step(row)
        self._log({"kind": "step", "epoch": epoch, **row, "seconds": round(seconds, 4)})
        self.bar.update(1, loss=_loss_text(row["loss"]))

    def _checkpoint_if_due(self) -> None:
        step = self.trainer.step
        stopping = self.world.asked_to_stop(self.stop)
        if stopping or step == self.trainer.total_steps or step % self.trainer.settings.checkpoint_every == 0:
            self._save()
        if stopping:  # only the signal that was seen above, not one that arrived since
            raise Stopped(stopping)

    def _save(self) -> None:
        if self.world.is_rank0:
            self.save(checkpoint_to_bytes(self.trainer))

    def _log(self, row: dict[str, Any]) -> None:
        if self.world.is_rank0:
            self.log(row)

    def _validate_if_due(self) -> None:
        trainer, settings = self.trainer, self.trainer.settings
        decides = validation_due(
            trainer.step, settings=settings, epoch_images=self.epoch_images, total_steps=trainer.total_steps
        )
        done = trainer.history if decides else trainer.curve.validations
        is_done = bool(done) and done[-1]["step"] == trainer.step
        if self._val is None or is_done or not (decides or trainer.step in self._observed):
            return
        try:
            result = self._validate(self._val)
        except Stopped:
            self._save()
            raise
        row = {"step": trainer.step, "epoch": trainer.step * settings.batch // self.epoch_images, **result}
        if decides:
            trainer.history.append(row)
        trainer.curve.add_validation(row)
        if decides and settings.keep_best and best_of(trainer.history) == len(trainer.history) - 1:
            averaged = trainer.model.state_dict() if trainer.ema is None else trainer.ema.average
            trainer.best = {name: value.detach().clone() for name, value in averaged.items()}
        self._log({"kind": "validation", **row})
        self.bar.update(0, mIoU=f"{result['miou'] or 0:.4f}")

    def _is_patience_over(self) -> bool:
        history, patience = self.trainer.history, self.trainer.settings.patience
        return bool(patience and history) and len(history) - 1 - best_of(history) >= patience

    def _validate(self, val: SegmentationDataset) -> EvaluationResult:
        trainer = self.trainer
        with trainer.ema.swapped_in(trainer.model) if trainer.ema is not None else nullcontext():
            return validate(
                trainer.model,
                val,
                limit=trainer.settings.validate_images,
                class_names=self.data.class_names,
                mean=trainer.mean,
                std=trainer.std,
                device=trainer.device,
                precision=trainer.settings.precision,
                stop=self.stop,
                world=self.world,
            )
