"""One training step, and everything that changes from step to step."""

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

from autolabel.config.schema import TrainConfig
from autolabel.data.streams import Stream
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.errors import AutolabelError, SettingError, TrainingDiverged
from autolabel.losses import LossNormalizer, loss_normalizer
from autolabel.models.layers import normalise
from autolabel.training.activation_checkpointing import checkpoint_activations
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
        self, output: Any, labels: torch.Tensor, *, counts: LossNormalizer, confidence: torch.Tensor | None
    ) -> torch.Tensor:
        """What the model returns and labels (B, H, W) int64 -> their share of the loss of the batch of these counts.

        `confidence` (B, H, W) uint8: what each pixel counts, 255 = 1; None = all count 1."""


@dataclass
class Trainer:
    """A network in training. The state of a run is what `training.state` lists; all else is rebuilt from settings.

    No generator state is part of it: each step seeds torch from (seed, step, rank), so dropout does not depend on
    history. After each step all ranks of `world` are in the same state: gradients are summed over their shares of the
    batch, and statistics that only one rank has seen are those of rank 0.
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
    world: ProcessGroup = SINGLE_PROCESS
    micro_batch: int = 0  # 0 = the rank's whole share of the batch at once
    activation_checkpointing: bool = False
    compile: bool = False
    step: int = 0  # steps done
    num_skipped: int = 0  # non-finite steps in a row
    history: list[dict[str, Any]] = field(default_factory=list)  # validations so far

    def __post_init__(self) -> None:
        self._type = weight_type(self.settings.precision)
        self.model.to(self.device, self._type).train()
        prepare_norms(self.model, self.settings, device=self.device, world=self.world)
        if self.activation_checkpointing:
            checkpoint_activations(self.model)
        self._network, self._accumulating = self._spread()
        self.optimizer = build_optimizer(self.model, self.settings)
        self.scaler = loss_scaler(self.device, self.settings.precision)
        self.ema = Ema(self.model, self.settings.ema) if self.settings.ema else None
        self._buffers = list(self.model.buffers())
        self.statistics_differ = statistics_differ(self.model, self.world)

    def _spread(self) -> tuple[Callable[..., Any], Callable[[], AbstractContextManager[Any]]]:
        """What calls the model so that a backward pass sums gradients over ranks, and the context in which it waits."""
        if self.world.size == 1:
            return torch.compile(self.model) if self.compile else self.model, nullcontext
        # Started from rank 0's weights; buffers are looked after in `train_step`.
        devices = [self.device] if self.device.type == "cuda" else None
        spread = DistributedDataParallel(self.model, devices, forward_sync_buffers=False, gradient_as_bucket_view=True)
        return torch.compile(spread) if self.compile else spread, spread.no_sync

    def train_step(
        self, images: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor | None = None
    ) -> dict[str, Any]:
        """Learn from images (B, H, W, 3), labels (B, H, W) and what their pixels count, (B, H, W) with 255 = 1, all
        uint8: this rank's share of a batch, as large as the others'. Returns the figures of the step, which are those
        of the whole batch.

        A non-finite loss or gradient leaves no trace: weights, buffers, optimizer and averages stay as they were.
        TrainingDiverged: it was the `max_nan`-th in a row. An RMI loss below zero is normal: an absent class
        contributes 0.5 ln(5e-4) = -3.8.
        """
        torch.manual_seed(_step_seed(self.seed, self.step, self.world.rank))
        lr = self._set_lr()
        kept = [buffer.clone() for buffer in self._buffers]
        try:
            loss = self._backward(images, labels, confidence)
        except torch.OutOfMemoryError:
            size = self.micro_batch or len(images)
            remedy = f"set runtime.micro_batch below {size}" if size > 1 else "use a smaller crop or network"
            raise AutolabelError(f"step {self.step + 1}", f"{self.device} ran out of memory", remedy) from None
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 value per channel"):
                raise
            what = "batch norm needs more than one value a channel, and a device has one image of this crop at a time"
            remedy = "use larger crops, more images a device, or freeze_norms"
            raise SettingError("crop", what, remedy) from None
        is_finite = math.isfinite(loss) and self._gradients_are_finite()
        if is_finite:  # on all ranks or on none: they have the same loss and the same gradients
            self.scaler.step(self.optimizer)
            self._sync_buffers()
            if self.ema is not None:
                self.ema.update(self.model)
        elif self._buffers:
            torch._foreach_copy_(self._buffers, kept)
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
            group["lr"] = lr
        return lr

    def _backward(self, images: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor | None) -> float:
        """Accumulate the gradient over micro-batches, then sum it over ranks; the loss of the whole batch."""
        size = self.micro_batch or len(images)
        counts = self._counts(labels, confidence)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        confidence_parts = confidence.split(size) if confidence is not None else repeat(None)
        parts = list(zip(images.split(size), labels.split(size), confidence_parts, strict=False))
        for number, (image_part, label_part, confidence_part) in enumerate(parts, start=1):
            inputs = normalise(image_part.to(self.device, non_blocking=True), self.mean, self.std).to(self._type)
            targets = label_part.to(self.device, non_blocking=True).long()
            if confidence_part is not None:
                confidence_part = confidence_part.to(self.device, non_blocking=True)
            with nullcontext() if number == len(parts) else self._accumulating():
                with autocast(self.device, self.settings.precision):
                    output = self._network(inputs)
                loss = self.loss(output, targets, counts=counts, confidence=confidence_part)
                self.scaler.scale(loss * self.world.size).backward()  # the mean over ranks is taken of the gradients
            total += loss.detach()
        return self.world.all_reduce_sum(total.cpu()).item()

    def _counts(self, labels: torch.Tensor, confidence: torch.Tensor | None) -> LossNormalizer:
        """Of the batch that these labels are a share of."""
        share = loss_normalizer(labels, self.num_classes, confidence)
        images, valid = self.world.all_reduce_sum(torch.tensor([share.images, share.valid], dtype=torch.float64))
        return LossNormalizer(int(images), valid)

    @torch.no_grad()
    def _sync_buffers(self) -> None:
        if self.statistics_differ:
            self.world.broadcast_tensors([buffer for buffer in self._buffers if buffer.is_floating_point()])

    def _gradients_are_finite(self) -> bool:
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return math.isfinite(nn.utils.get_total_norm(gradients).item())

    def _count_skips(self, is_finite: bool) -> None:
        self.num_skipped = 0 if is_finite else self.num_skipped + 1
        if self.num_skipped >= self.settings.max_nan:
            what = f"the loss was not finite {self.num_skipped} times in a row"
            remedy = "the last good checkpoint is kept; lower lr, add warmup, or use precision fp32"
            raise TrainingDiverged(f"step {self.step + 1}", what, remedy)


def _step_seed(seed: int, step: int, rank: int) -> int:
    key = [seed, Stream.STEP, step, *([rank] if rank else [])]
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
