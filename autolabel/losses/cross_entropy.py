"""Softmax cross-entropy."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from autolabel.losses.bce import loss_type
from autolabel.losses.counts import Counts, batch_counts
from autolabel.losses.strips import strips
from autolabel.losses.valid import targets
from autolabel.models.layers import at_least_float32


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
    """Mean over the valid pixels; 0, not NaN, where there are none.

    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored; `counts` of the batch
    they are part of, by default their own.
    """
    counts = counts or batch_counts(labels, logits.shape[1])
    with torch.autocast(logits.device.type, enabled=False):
        total = _SummedCrossEntropy.apply(logits, labels) / counts.valid.clamp(min=1)
        return total.to(loss_type(logits))


class _SummedCrossEntropy(torch.autograd.Function):
    """Float64 sum. The gradient is softmax - label; only logits and labels are kept for it."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, labels)
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            pixels = F.cross_entropy(at_least_float32(strip.of(logits)), target.squeeze(1), reduction="none")
            total += torch.where(valid.squeeze(1), pixels, 0).sum(dtype=torch.float64)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, labels = ctx.saved_tensors
        result = torch.empty_like(logits)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            error = torch.softmax(at_least_float32(strip.of(logits)), dim=1)
            error.scatter_(1, target, error.gather(1, target) - 1)
            strip.of(result).copy_(error.mul_(valid * gradient.to(error.dtype)))
        return result, None
