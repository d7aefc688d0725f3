"""Sigmoid cross-entropy of every class against the rest."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from autolabel.losses.counts import Counts, batch_counts
from autolabel.losses.valid import valid_pixels
from autolabel.models.layers import at_least_float32


def bce_loss(logits: torch.Tensor, labels: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
    """Sum over valid pixels and classes, divided by (valid pixels + 1): the BCE part of the RMI loss.

    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored; `counts` of the batch
    they are part of, by default their own.
    """
    counts = counts or batch_counts(labels, logits.shape[1])
    with torch.autocast(logits.device.type, enabled=False):
        valid = valid_pixels(labels, logits.shape[1]).unsqueeze(1)  # (B, 1, H, W)
        target = torch.where(valid, labels.long().unsqueeze(1), 0)
        total = _SummedBCE.apply(at_least_float32(logits), target, valid)
        return total / (counts.valid + 1).to(total.dtype)


class _SummedBCE(torch.autograd.Function):
    """Over the classes of a pixel, BCE adds up to sum softplus(logits) - logit of its label: no one-hot map.

    The gradient is probability - label; it keeps the memory format of the logits, and only the logits are kept for it.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, target, valid)
        pixels = F.softplus(logits).sum(dim=1, keepdim=True) - logits.gather(1, target)  # (B, 1, H, W)
        return torch.where(valid, pixels, 0).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, target, valid = ctx.saved_tensors
        result = torch.sigmoid(logits)
        result.scatter_add_(1, target, torch.full_like(target, -1, dtype=logits.dtype))
        return result.mul_(valid * gradient), None, None
