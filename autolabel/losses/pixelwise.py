"""Losses that are sums over pixels: binary cross-entropy per class, and softmax cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from autolabel.losses.masking import FULL, LossNormalizer, loss_normalizer, pixel_weights, targets
from autolabel.losses.tiling import strips
from autolabel.models.layers import at_least_float32


class _Loss(NamedTuple):
    """A pixelwise loss whose gradient with respect to the logits is probabilities - one-hot label."""

    values: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits (B, K, H, W), target -> (B, 1, H, W)
    probabilities: Callable[[torch.Tensor], torch.Tensor]  # logits -> (B, K, H, W)


def _bce_values(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """BCE summed over the classes of a pixel is sum softplus(logits) - logit of its label: no one-hot map is needed."""
    return F.softplus(logits).sum(dim=1, keepdim=True) - logits.gather(1, target)


def _cross_entropy_values(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, target.squeeze(1), reduction="none").unsqueeze(1)


_BCE = _Loss(_bce_values, torch.sigmoid)
_CROSS_ENTROPY = _Loss(_cross_entropy_values, lambda logits: torch.softmax(logits, dim=1))


def bce_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: LossNormalizer | None = None,
    confidence: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum over valid pixels and classes, divided by (valid pixels + 1): the BCE term of the RMI loss.

    `logits` is (B, K, H, W), `labels` (B, H, W) integer; labels outside 0..K-1 are ignored. `counts` is the normaliser
    of the whole batch, by default of these images. `confidence` is (B, H, W) uint8 with 255 = 1.
    """
    counts = counts or loss_normalizer(labels, logits.shape[1], confidence)
    with torch.autocast(logits.device.type, enabled=False):
        total = summed_bce(logits, labels, confidence) / (counts.valid + 1)
        return total.to(loss_type(logits))


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: LossNormalizer | None = None,
    confidence: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean of the softmax cross-entropy over the valid pixels; 0, not NaN, where there are none.

    The arguments are those of `bce_loss`.
    """
    counts = counts or loss_normalizer(labels, logits.shape[1], confidence)
    with torch.autocast(logits.device.type, enabled=False):
        least = 1 if confidence is None else 1 / FULL  # the least positive sum of confidence
        total = _PixelSum.apply(logits, labels, confidence, _CROSS_ENTROPY) / counts.valid.clamp(min=least)  # type: ignore[no-untyped-call]  # torch's
        loss: torch.Tensor = total.to(loss_type(logits))
        return loss


def loss_type(logits: torch.Tensor) -> torch.dtype:
    """The type of a loss: float32, or float64 for float64 logits."""
    return torch.promote_types(logits.dtype, torch.float32)


def summed_bce(logits: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor | None = None) -> torch.Tensor:
    """Float64 sum over valid pixels and classes, not yet normalised."""
    total: torch.Tensor = _PixelSum.apply(logits, labels, confidence, _BCE)  # type: ignore[no-untyped-call]  # torch's
    return total


def bce_sum(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Float64 sum over the valid pixels of (B, K, H, W) and all classes; `target` and `valid` are from `targets`."""
    return _sum(_BCE, logits, target, valid, None)


def _sum(
    loss: _Loss, logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, confidence: torch.Tensor | None
) -> torch.Tensor:
    values = torch.where(valid, loss.values(at_least_float32(logits), target), 0)
    return (values if confidence is None else values * pixel_weights(valid, confidence)).sum(dtype=torch.float64)


class _PixelSum(torch.autograd.Function):
    """Float64 sum of a loss over the valid pixels. Only logits, labels and confidence are saved for backward."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor | None, loss: _Loss
    ) -> torch.Tensor:
        ctx.save_for_backward(logits, labels, confidence)
        ctx.loss = loss
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            total += _sum(loss, strip.of(logits), target, valid, strip.of_any(confidence))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        logits, labels, confidence = ctx.saved_tensors
        result = torch.empty_like(logits)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            error = ctx.loss.probabilities(at_least_float32(strip.of(logits)))
            error.scatter_(1, target, error.gather(1, target) - 1)
            pixel_weight = pixel_weights(valid, strip.of_any(confidence))
            strip.of(result).copy_(error.mul_((pixel_weight * gradient).to(error.dtype)))
        return result, None, None, None
