"""Softmax cross-entropy."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from autolabel.losses.bce import loss_type
from autolabel.losses.counts import Counts, batch_counts
from autolabel.losses.strips import strips
from autolabel.losses.valid import FULL, targets, weighed
from autolabel.models.layers import at_least_float32


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, counts: Counts | None = None, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the valid pixels; 0, not NaN, where there are none.

    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored; `counts` of the batch
    they are part of, by default their own. `weights` (B, H, W) uint8: what each pixel counts, 255 = 1.
    """
    counts = counts or batch_counts(labels, logits.shape[1], weights)
    with torch.autocast(logits.device.type, enabled=False):
        least = 1 if weights is None else 1 / FULL  # of a batch with any valid pixel
        total = _SummedCrossEntropy.apply(logits, labels, weights) / counts.valid.clamp(min=least)
        return total.to(loss_type(logits))


class _SummedCrossEntropy(torch.autograd.Function):
    """Float64 sum. The gradient is softmax - label; only logits, labels and weights are kept for it."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(logits, labels, weights)
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            pixels = F.cross_entropy(at_least_float32(strip.of(logits)), target.squeeze(1), reduction="none")
            pixels = torch.where(valid, pixels.unsqueeze(1), 0)
            part = strip.of_any(weights)
            total += (pixels if part is None else pixels * weighed(valid, part)).sum(dtype=torch.float64)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, labels, weights = ctx.saved_tensors
        result = torch.empty_like(logits)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            error = torch.softmax(at_least_float32(strip.of(logits)), dim=1)
            error.scatter_(1, target, error.gather(1, target) - 1)
            share = weighed(valid, strip.of_any(weights))
            strip.of(result).copy_(error.mul_((share * gradient).to(error.dtype)))
        return result, None, None
