"""Sigmoid cross-entropy of every class against the rest."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from autolabel.losses.counts import Counts, batch_counts
from autolabel.losses.strips import strips
from autolabel.losses.valid import targets, weighed
from autolabel.models.layers import at_least_float32


def bce_loss(
    logits: torch.Tensor, labels: torch.Tensor, counts: Counts | None = None, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Sum over valid pixels and classes, divided by (valid pixels + 1): the BCE part of the RMI loss.

    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored; `counts` of the batch
    they are part of, by default their own. `weights` (B, H, W) uint8: what each pixel counts, 255 = 1.
    """
    counts = counts or batch_counts(labels, logits.shape[1], weights)
    with torch.autocast(logits.device.type, enabled=False):
        total = summed_bce(logits, labels, weights) / (counts.valid + 1)
        return total.to(loss_type(logits))


def loss_type(logits: torch.Tensor) -> torch.dtype:
    """What a loss comes in: float32, or float64 for logits in it."""
    return torch.promote_types(logits.dtype, torch.float32)


def summed_bce(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Float64 sum over valid pixels and classes, to be divided by what a batch counts."""
    total: torch.Tensor = _SummedBCE.apply(logits, labels, weights)
    return total


def bce_sum(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Float64 sum over the valid pixels of (B, K, H, W) and all classes; `targets` of the labels.

    Over the classes of a pixel, BCE adds up to sum softplus(logits) - logit of its label: no one-hot map.
    """
    wide = at_least_float32(logits)
    pixels = F.softplus(wide).sum(dim=1, keepdim=True) - wide.gather(1, target)  # (B, 1, H, W)
    pixels = torch.where(valid, pixels, 0)
    return (pixels if weights is None else pixels * weighed(valid, weights)).sum(dtype=torch.float64)


class _SummedBCE(torch.autograd.Function):
    """Float64 sum. The gradient is probability - label; only logits, labels and weights are kept for it."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(logits, labels, weights)
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            total += bce_sum(strip.of(logits), target, valid, strip.of_any(weights))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, labels, weights = ctx.saved_tensors
        result = torch.empty_like(logits)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            error = torch.sigmoid(at_least_float32(strip.of(logits)))
            error.scatter_(1, target, error.gather(1, target) - 1)
            share = weighed(valid, strip.of_any(weights))
            strip.of(result).copy_(error.mul_((share * gradient).to(error.dtype)))
        return result, None, None
