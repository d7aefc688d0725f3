"""One training step, and all state that changes between steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from autolabel.config.networks import TrainConfig
from autolabel.data.streams import Stream
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.errors import AutolabelError, SettingError, TrainingDiverged
from autolabel.losses import LossNormalizer, class_weights, loss_normalizer, pixel_weights
from autolabel.models.layers import normalise
from autolabel.training.activation_checkpointing import checkpoint_activations
from autolabel.training.curve import Curve
from autolabel.training.freeze import freeze
from autolabel.training.kept_tensors import KeptTensors
from autolabel.training.online_labels import online_labels
from autolabel.training.optim import (
    Ema,
    autocast,
    build_optimizer,
    loss_scaler,
    lr_at,
    prepare_norms,
    statistics_differ,
    weight_type,
)


class Loss(Protocol):
    def __call__(
        self, output: Any, labels: torch.Tensor, *, counts: LossNormalizer, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Part of a batch's loss, from model output and labels (B, H, W) int64; `counts` are of the whole batch.

        `weights` (B, H, W) are those of the pixels; None = all 1."""


@dataclass
class Trainer:
    """A network in training. `training.checkpoint` lists the state of a run; all else is rebuilt from settings.

    Random generators are not part of the state: each step seeds torch from (seed, step, rank), so dropout does not
    depend on history. After each step all ranks of `world` have the same state: gradients are summed over their parts
    of the batch, and batch-norm statistics that are not synchronised are those of rank 0.
    """

    model: nn.Module
    loss: Loss
    settings: TrainConfig
    seed: int
    total_steps: int
    device: torch.device
    mean: Sequence[float]
    std: Sequence[float]
    num_classes: int
    frequencies: torch.Tensor | None = None  # (K,) of the classes, sum 1; needed for `class_weights`
    world: ProcessGroup = SINGLE_PROCESS
    micro_batch: int = 0  # 0 = the whole part of this rank at once
    activation_checkpointing: bool = False
    compile: bool = False
    online_threshold: float = 0.95  # probability that a class must exceed in an online label
    step: int = 0  # steps done
    num_skipped: int = 0  # non-finite steps in a row
    history: list[dict[str, Any]] = field(default_factory=list)  # validations so far
    best: dict[str, torch.Tensor] | None = None  # the weights of the best validation, if they are kept

    def __post_init__(self) -> None:
        self.curve = Curve(self.total_steps)
        self._type = weight_type(self.settings.precision)
        self.model.to(self.device, self._type).train()
        freeze(self.model, self.settings.freeze)
        prepare_norms(self.model, self.settings, device=self.device, world=self.world)
        if self.activation_checkpointing:
            checkpoint_activations(self.model)
        self._network, self._accumulating = self._wrap_ddp()
        self.optimizer = build_optimizer(self.model, self.settings)
        self.scaler = loss_scaler(self.device, self.settings.precision)
        self.ema = Ema(self.model, self.settings.ema) if self.settings.ema else None
        self._buffers = list(self.model.buffers())
        self._kept = KeptTensors(self._buffers)
        self.statistics_differ = statistics_differ(self.model, self.world)

    def _wrap_ddp(self) -> tuple[Callable[..., Any], Callable[[], AbstractContextManager[Any]]]:
        """The model wrapped so that a backward pass averages gradients over ranks, and a context that defers this."""
        if self.world.size == 1:
            return torch.compile(self.model) if self.compile else self.model, nullcontext
        # All ranks start with the weights of rank 0; `train_step` synchronises buffers.
        devices = [self.device] if self.device.type == "cuda" else None
        wrapped = DistributedDataParallel(self.model, devices, forward_sync_buffers=False, gradient_as_bucket_view=True)
        return torch.compile(wrapped) if self.compile else wrapped, wrapped.no_sync

    def train_step(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        confidence: torch.Tensor | None = None,
        weak: torch.Tensor | None = None,
    ) -> dict[str, Any]:
        """Learn from images (B, H, W, 3), labels (B, H, W) and confidence (B, H, W; 255 = 1), all uint8.

        They are this rank's part of a batch; all parts have the same size. Pixels whose label is `ONLINE` get it from
        the averaged weights, which see `weak` (B, H, W, 3). Returns the figures of the whole batch.

        A non-finite loss or gradient changes nothing: weights, buffers, optimizer and averages stay as they were.
        TrainingDiverged: it was the `max_nan`-th in a row. An RMI loss below zero is normal: an absent class
        contributes 0.5 ln(5e-4) = -3.8.
        """
        torch.manual_seed(_step_seed(self.seed, self.step, self.world.rank))
        lr = self._set_lr()
        self._kept.keep()
        try:
            if weak is not None:
                labels = self._online_labels(weak, labels)
            total = self._backward(images, labels, confidence)
        except torch.OutOfMemoryError:
            size = self.micro_batch or len(images)
            remedy = f"set runtime.micro_batch below {size}" if size > 1 else "use a smaller crop or network"
            raise AutolabelError(f"step {self.step + 1}", f"{self.device} ran out of memory", remedy) from None
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 value per channel"):
                raise
            what = "batch norm needs more than one value per channel, and each device has a single image of this crop"
            remedy = "use larger crops, more images per device, or freeze_norms"
            raise SettingError("crop", what, remedy) from None
        loss, norm = self._loss_and_norm(total)
        is_finite = math.isfinite(loss) and math.isfinite(norm)
        if is_finite:  # on all ranks or on none: they have the same loss and the same gradients
            self.scaler.step(self.optimizer)
            self._sync_buffers()
            if self.ema is not None:
                self.ema.update(self.model)
        else:
            self._kept.restore()
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._count_skips(is_finite)
        self.step += 1
        # JSON has no NaN.
        return {"step": self.step, "loss": loss if math.isfinite(loss) else None, "lr": lr, "skipped": not is_finite}

    def _set_lr(self) -> float:
        s = self.settings
        lr = lr_at(self.step, base=s.lr, total=self.total_steps, power=s.poly_power, warmup=s.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        return lr

    def _backward(self, images: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor | None) -> torch.Tensor:
        """Accumulate the gradient over micro-batches, then sum it over ranks; returns this rank's part of the loss."""
        size = self.micro_batch or len(images)
        weights = pixel_weights(labels, self._class_weights(), confidence)
        counts = self._counts(labels, weights)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        weight_parts = weights.split(size) if weights is not None else repeat(None)
        parts = list(zip(images.split(size), labels.split(size), weight_parts, strict=False))
        for number, (image_part, label_part, weight_part) in enumerate(parts, start=1):
            inputs = self._inputs(image_part)
            targets = label_part.to(self.device, non_blocking=True).long()
            if weight_part is not None:
                weight_part = weight_part.to(self.device, non_blocking=True)
            with nullcontext() if number == len(parts) else self._accumulating():
                with autocast(self.device, self.settings.precision):
                    output = self._network(inputs)
                loss = self.loss(output, targets, counts=counts, weights=weight_part)
                self.scaler.scale(loss * self.world.size).backward()  # gradients are averaged over ranks
            total += loss.detach()
        return total

    def _online_labels(self, weak: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert self.ema is not None, "the settings ask for averaged weights"
        with autocast(self.device, self.settings.precision):
            return online_labels(
                self.model,
                self.ema.average,
                self._inputs,
                weak=weak,
                labels=labels,
                threshold=self.online_threshold,
                at_once=self.micro_batch or len(weak),
            )

    def _inputs(self, images: torch.Tensor) -> torch.Tensor:
        return normalise(images.to(self.device, non_blocking=True), self.mean, self.std).to(self._type)

    def _class_weights(self) -> torch.Tensor | None:
        """The weights of the classes at this step: their power changes linearly from the first step to the last."""
        first, last = self.settings.class_weights
        if self.frequencies is None or first == last == 0:
            return None
        return class_weights(self.frequencies, first + (last - first) * self.step / max(1, self.total_steps - 1))

    def _counts(self, labels: torch.Tensor, weights: torch.Tensor | None) -> LossNormalizer:
        """The counts of the whole batch, of which these labels are the part of this rank."""
        own = loss_normalizer(labels, self.num_classes, weights)
        if self.settings.loss_over == "all":
            own = own._replace(valid=torch.tensor(float(labels.numel()), dtype=torch.float64))
        images, valid = self.world.all_reduce_sum(torch.tensor([own.images, own.valid], dtype=torch.float64))
        return LossNormalizer(int(images), valid)

    @torch.no_grad()
    def _sync_buffers(self) -> None:
        if self.statistics_differ:
            self.world.broadcast_tensors([buffer for buffer in self._buffers if buffer.is_floating_point()])

    def _loss_and_norm(self, total: torch.Tensor) -> tuple[float, float]:
        """The loss of the whole batch, and the norm of its gradient, which is scaled if the settings limit it.

        The host waits for the device here, once per step.
        """
        self.scaler.unscale_(self.optimizer)
        trained = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if self.settings.clip_grad:
            nn.utils.clip_grads_with_norm_(trained, self.settings.clip_grad, norm)
        own, length = torch.stack([total, norm.to(total)]).cpu()
        return self.world.all_reduce_sum(own).item(), length.item()

    def _count_skips(self, is_finite: bool) -> None:
        self.num_skipped = 0 if is_finite else self.num_skipped + 1
        if self.num_skipped >= self.settings.max_nan:
            what = f"the loss was not finite {self.num_skipped} times in a row"
            remedy = "the last good checkpoint is kept; lower lr, add warmup, or use precision fp32"
            raise TrainingDiverged(f"step {self.step + 1}", what, remedy)


def _step_seed(seed: int, step: int, rank: int) -> int:
    key = [seed, Stream.STEP, step, *([rank] if rank else [])]
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
