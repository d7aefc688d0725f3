"""Losses that are sums over pixels: binary cross-entropy per class, and softmax cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from autolabel.losses.masking import FULL, LossNormalizer, loss_normalizer, targets
from autolabel.losses.tiling import strips
from autolabel.models.layers import at_least_float32


class _Loss(NamedTuple):
    """A pixelwise loss whose gradient with respect to the logits is probabilities - soft label.

    The soft label is `rest` for every class, and `rest` + `peak` for the class of the label.
    """

    values: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits (B, K, H, W), target -> (B, 1, H, W)
    probabilities: Callable[[torch.Tensor], torch.Tensor]  # logits -> (B, K, H, W)
    peak: float = 1.0
    rest: float = 0.0


def _bce_values(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """BCE summed over the classes of a pixel is sum softplus(logits) - logit of its label: no one-hot map is needed."""
    return F.softplus(logits).sum(dim=1, keepdim=True) - logits.gather(1, target)


def _cross_entropy_values(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, target.squeeze(1), reduction="none").unsqueeze(1)


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits, dim=1)


def _cross_entropy(smoothing: float, num_classes: int) -> _Loss:
    """Label smoothing spreads a fraction of each label over all classes (Szegedy et al., arXiv 1512.00567)."""
    if not smoothing:
        return _Loss(_cross_entropy_values, _softmax)
    peak, rest = 1 - smoothing, smoothing / num_classes

    def values(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        log_p = torch.log_softmax(logits, dim=1)
        return -peak * log_p.gather(1, target) - rest * log_p.sum(dim=1, keepdim=True)

    return _Loss(values, _softmax, peak, rest)


_BCE = _Loss(_bce_values, torch.sigmoid)


def bce_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: LossNormalizer | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum over valid pixels and classes, divided by (valid pixels + 1): the BCE term of the RMI loss.

    `logits` is (B, K, H, W), `labels` (B, H, W) integer; labels outside 0..K-1 are ignored. `counts` is the normaliser
    of the whole batch, by default of these images. `weights` (B, H, W) of the pixels are those of
    `pixel_weights`; None = 1.
    """
    counts = counts or loss_normalizer(labels, logits.shape[1], weights)
    with torch.autocast(logits.device.type, enabled=False):
        total = summed_bce(logits, labels, weights) / (counts.valid + 1)
        return total.to(loss_type(logits))


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: LossNormalizer | None = None,
    weights: torch.Tensor | None = None,
    *,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Mean of the softmax cross-entropy over the valid pixels; 0, not NaN, where there are none.

    `smoothing` is the fraction of label smoothing; the other arguments are those of `bce_loss`.
    """
    counts = counts or loss_normalizer(labels, logits.shape[1], weights)
    with torch.autocast(logits.device.type, enabled=False):
        least = 1 if weights is None else 1 / FULL  # the confidence of a single pixel
        kind = _cross_entropy(smoothing, logits.shape[1])
        total: torch.Tensor = _PixelSum.apply(logits, labels, weights, kind)  # type: ignore[no-untyped-call]  # torch's
        return (total / counts.valid.clamp(min=least)).to(loss_type(logits))


def loss_type(logits: torch.Tensor) -> torch.dtype:
    """The type of a loss: float32, or float64 for float64 logits."""
    return torch.promote_types(logits.dtype, torch.float32)


def summed_bce(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Float64 sum over valid pixels and classes, not yet normalised."""
    total: torch.Tensor = _PixelSum.apply(logits, labels, weights, _BCE)  # type: ignore[no-untyped-call]  # torch's
    return total


def bce_sum(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Float64 sum over the valid pixels of (B, K, H, W) and all classes; `target` and `valid` are from `targets`."""
    return _sum(_BCE, logits, target, valid, None)


def _sum(
    loss: _Loss, logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    values = torch.where(valid, loss.values(at_least_float32(logits), target), 0)
    return (values if weights is None else values * weights.unsqueeze(1)).sum(dtype=torch.float64)


class _PixelSum(torch.autograd.Function):
    """Float64 sum of a loss over the valid pixels. Only logits, labels and weights are saved for backward."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, loss: _Loss
    ) -> torch.Tensor:
        ctx.save_for_backward(logits, labels, weights)
        ctx.loss = loss
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            total += _sum(loss, strip.of(logits), target, valid, strip.of_any(weights))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        logits, labels, weights = ctx.saved_tensors
        result = torch.empty_like(logits)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            error = ctx.loss.probabilities(at_least_float32(strip.of(logits)))
            error.scatter_(1, target, error.gather(1, target) - ctx.loss.peak)
            if ctx.loss.rest:
                error -= ctx.loss.rest
            factor = valid if weights is None else valid * strip.of(weights).unsqueeze(1).double()
            strip.of(result).copy_(error.mul_((factor * gradient).to(error.dtype)))
        return result, None, None, None
