"""Region mutual information loss (Zhao et al., arXiv 1910.12037), in the form the published networks were trained with.

A class's map of probabilities p and of labels y are pooled; every 3x3 neighbourhood is a 9-vector. What the loss
minimises is the log-determinant of the covariance of y given p: neighbourhoods of the label that those of the
prediction do not explain. It may be negative: a class absent from the crop gives 0.5 ln(5e-4) = -3.80.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autolabel.losses.counts import Counts, batch_counts
from autolabel.losses.pixelwise import bce_loss, bce_sum, loss_type, summed_bce
from autolabel.losses.pooling import Scratch, cell_sums, pooled_floor, pooled_labels, pooled_size
from autolabel.losses.region import RADIUS, WINDOW, Statistics, gradient, information
from autolabel.losses.strips import POOL, grid_size, strips
from autolabel.losses.valid import targets

BCE_SHARE = 0.5


def rmi_loss(
    logits: torch.Tensor, labels: torch.Tensor, counts: Counts | None = None, confidence: torch.Tensor | None = None
) -> torch.Tensor:
    """0.5 BCE + 0.5 RMI; BCE alone where a side is below 8 pixels, too small for one neighbourhood.

    RMI is the sum over classes of the mean over the batch of 0.5 logdet(M + ridge) / 9, with
    M = C_yy - C_yp (C_pp + ridge)^-1 C_yp^T of the unnormalised covariances C of neighbourhoods (`losses.region`).
    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored: they count as label 0
    with the least probability. `counts` of the batch they are part of, by default their own. `confidence` (B, H, W)
    uint8: what each pixel counts in BCE, 255 = 1; RMI, a statistic of regions, knows only pixels that count and others.
    """
    counts = counts or batch_counts(labels, logits.shape[1], confidence)
    if min(logits.shape[-2:]) < POOL * (RADIUS - 1):
        return bce_loss(logits, labels, counts, confidence)
    with torch.autocast(logits.device.type, enabled=False):
        bce, rmi = _Sums.apply(logits, labels)
        if confidence is not None:  # a pass of its own
            bce = summed_bce(logits, labels, confidence)
        loss = BCE_SHARE * bce / (counts.valid + 1) + (1 - BCE_SHARE) * rmi / (WINDOW * counts.images)
        return loss.to(loss_type(logits))


class _Sums(torch.autograd.Function):
    """Float64 BCE over valid pixels and classes, and information over images and classes.

    Kept for the backward pass: logits and labels as they are, and what is small. The gradient is made in one go.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bce = torch.zeros((), dtype=torch.float64, device=logits.device)
        sums = logits.new_empty(*logits.shape[:2], *grid_size(logits.shape[2:]), dtype=torch.float64)
        scratch = Scratch(logits)
        for strip in strips(logits):
            part = strip.of(logits)
            target, valid = targets(strip.of(labels), logits.shape[1])
            bce += bce_sum(part, target, valid)
            scratch.pixels(strip).copy_(part).sigmoid_().mul_(valid.double())
            sums[strip.images, :, strip.cells] = cell_sums(scratch.cells(strip))
        height, width = pooled_size(logits.shape[2:])
        pooled = sums[:, :, :height, :width] / POOL**2 + pooled_floor(logits.shape[2:], logits.device)
        counts = pooled_labels(labels, logits.shape[1])
        values, statistics = information(pooled.flatten(0, 1), counts.flatten(0, 1))
        ctx.save_for_backward(logits, labels, pooled, counts, *statistics)
        return bce, values.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bce: torch.Tensor, rmi: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, labels, pooled, counts, *statistics = ctx.saved_tensors
        slope = gradient(pooled.flatten(0, 1), counts.flatten(0, 1), Statistics(*statistics)).view_as(pooled)
        slope = _over_the_grid(slope.mul_(rmi / POOL**2), logits.shape[2:])
        result = torch.empty_like(logits)
        first, second = Scratch(logits), Scratch(logits)
        for strip in strips(logits):
            target, valid = targets(strip.of(labels), logits.shape[1])
            p = first.pixels(strip).copy_(strip.of(logits)).sigmoid_()
            error = second.pixels(strip)
            columns = slope[strip.images, :, strip.cells].repeat_interleave(POOL, dim=3)
            second.cells(strip).unflatten(2, (-1, POOL)).copy_(columns.unsqueeze(3))
            # p (1 - p) slope + bce (p - y)
            error.addcmul_(error, p, value=-1).add_(bce).mul_(p)
            error.scatter_(1, target, error.gather(1, target) - bce)
            strip.of(result).copy_(error.mul_(valid.double()))
        return result, None


def _over_the_grid(slope: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Zero for the pixels that no cell pools."""
    height, width = grid_size(size)
    return torch.nn.functional.pad(slope, (0, width - slope.shape[3], 0, height - slope.shape[2]))
