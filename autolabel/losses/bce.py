"""Sigmoid cross-entropy of every class against the rest."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from autolabel.losses.counts import Counts, batch_counts
from autolabel.losses.strips import strips
from autolabel.losses.valid import targets
from autolabel.models.layers import at_least_float32


def bce_loss(logits: torch.Tensor, labels: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
    """Sum over valid pixels and classes, divided by (valid pixels + 1): the BCE part of the RMI loss.

    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored; `counts` of the batch
    they are part of, by default their own.
    """
    counts = counts or batch_counts(labels, logits.shape[1])
    with torch.autocast(logits.device.type, enabled=False):
        total = _SummedBCE.apply(logits, labels) / (counts.valid + 1)
        return total.to(loss_type(logits))


def loss_type(logits: torch.Tensor) -> torch.dtype:
    """What a loss comes in: float32, or float64 for logits in it."""
    return torch.promote_types(logits.dtype, torch.float32)


def bce_sum(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Float64 sum over the valid pixels of (B, K, H, W) and all classes; `targets` of the labels.

    Over the classes of a pixel, BCE adds up to sum softplus(logits) - logit of its label: no one-hot map.
    """
    wide = at_least_float32(logits)
    pixels = F.softplus(wide).sum(dim=1, keepdim=True) - wide.gather(1, target)  # (B, 1, H, W)
    return torch.where(valid, pixels, 0).sum(dtype=torch.float64)


class _SummedBCE(torch.autograd.Function):
    """Float64 sum. The gradient is probability - label; only logits and labels are kept for it."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, labels)
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        for strip in strips(logits):
            total += bce_sum(strip.of(logits), *targets(strip.of(labels), logits.shape[1]))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, labels = ctx.saved_tensors
        result = torch.empty_like(logits)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            error = torch.sigmoid(at_least_float32(strip.of(logits)))
            error.scatter_(1, target, error.gather(1, target) - 1)
            strip.of(result).copy_(error.mul_(valid * gradient.to(error.dtype)))
        return result, None
