"""One training step, and everything that changes from step to step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from autolabel.config import Train
from autolabel.errors import AutolabelError, TrainingDiverged
from autolabel.losses import Counts, batch_counts
from autolabel.models.normalise import normalise
from autolabel.training.ema import Ema
from autolabel.training.optim import build_optimizer
from autolabel.training.precision import autocast, loss_scaler
from autolabel.training.schedule import lr_at

_STEP = 4  # stream of random numbers, beside those of data.sampling and data.dataset


class Loss(Protocol):
    def __call__(self, output: Any, labels: torch.Tensor, *, counts: Counts) -> torch.Tensor:
        """What the model returns and labels (B, H, W) int64 -> their share of the loss of the batch of these counts."""


@dataclass
class Trainer:
    """A network in training. The state of a run is what `training.state` lists; all else is rebuilt from settings.

    No generator state is part of it: each step seeds torch from (seed, step), so dropout does not depend on history.
    """

    model: nn.Module
    loss: Loss
    settings: Train
    seed: int
    total_steps: int
    device: torch.device
    mean: Sequence[float]
    std: Sequence[float]
    num_classes: int
    micro_batch: int = 0  # 0 = the whole batch at once
    step: int = 0  # steps done
    num_skipped: int = 0  # non-finite steps in a row
    history: list[dict[str, Any]] = field(default_factory=list)  # validations so far

    def __post_init__(self) -> None:
        self.model.to(self.device).train()
        self.optimizer = build_optimizer(self.model, self.settings)
        self.scaler = loss_scaler(self.device, self.settings.precision)
        self.ema = Ema(self.model, self.settings.ema) if self.settings.ema else None
        self._buffers = list(self.model.buffers())

    def train_step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        """Learn from images (B, H, W, 3) and labels (B, H, W), both uint8; returns the figures of the step.

        A non-finite loss or gradient leaves no trace: weights, buffers, optimizer and averages stay as they were.
        TrainingDiverged: it was the `max_nan`-th in a row. An RMI loss below zero is normal: an absent class
        contributes 0.5 ln(5e-4) = -3.8.
        """
        torch.manual_seed(_step_seed(self.seed, self.step))
        lr = self._set_lr()
        kept = [buffer.clone() for buffer in self._buffers]
        try:
            loss = self._backward(images, labels)
        except torch.OutOfMemoryError:
            size = self.micro_batch or len(images)
            remedy = f"set runtime.micro_batch below {size}" if size > 1 else "use a smaller crop or network"
            raise AutolabelError(f"step {self.step + 1}", f"{self.device} ran out of memory", remedy) from None
        is_finite = math.isfinite(loss) and self._gradients_are_finite()
        if is_finite:
            self.scaler.step(self.optimizer)
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

    def _backward(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Accumulate the gradient over micro-batches; the loss of the whole batch."""
        size = self.micro_batch or len(images)
        counts = batch_counts(labels, self.num_classes)
        total = torch.zeros((), device=self.device)
        for image_part, label_part in zip(images.split(size), labels.split(size), strict=True):
            inputs = normalise(image_part.to(self.device, non_blocking=True), self.mean, self.std)
            targets = label_part.to(self.device, non_blocking=True).long()
            with autocast(self.device, self.settings.precision):
                output = self.model(inputs)
            loss = self.loss(output, targets, counts=counts)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total.item()

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


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, _STEP, step]).generate_state(1, np.uint64)[0])
