"""Region mutual information loss (Zhao et al., arXiv 1910.12037), in the form used for the published networks.

For each class, the maps of probabilities p and labels y are average-pooled (kernel and stride 4, padding 2, padding
included), and every 3x3 neighbourhood is a 9-vector. The loss minimises the log-determinant of the covariance of y
given p, the variance of the label's neighbourhoods that the prediction's do not explain. It may be negative: a class
that is absent from the crop gives 0.5 ln(5e-4) = -3.80.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autolabel.losses.masking import LossNormalizer, loss_normalizer, targets, valid_pixels
from autolabel.losses.pixelwise import bce_loss, bce_sum, loss_type, summed_bce
from autolabel.losses.rmi_statistics import RADIUS, WINDOW, Statistics, gradient, information
from autolabel.losses.tiling import PADDING, POOL, Strip, grid_size, strip_size, strips

FLOOR = 1e-6  # added to the probability of every pixel of the map


class Scratch:
    """A float64 buffer (images, K, rows, columns) for one strip at a time, in whole cells; zero outside the map."""

    def __init__(self, logits: torch.Tensor) -> None:
        images, cells = strip_size(logits)
        shape = images, logits.shape[1], cells * POOL, grid_size(logits.shape[2:])[1] * POOL
        is_channels_last = logits.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_channels_last else torch.contiguous_format
        self._buffer = torch.empty(shape, dtype=torch.float64, device=logits.device, memory_format=layout).zero_()
        self._width = logits.shape[3]

    def cells(self, strip: Strip) -> torch.Tensor:
        images, rows = strip.images.stop - strip.images.start, strip.cells.stop - strip.cells.start
        return self._buffer[:images, :, : rows * POOL]

    def pixels(self, strip: Strip) -> torch.Tensor:
        """View of the pixels of the map in the cells; rows outside the map become zero."""
        cells = self.cells(strip)
        top = strip.rows.start - (strip.cells.start * POOL - PADDING)
        bottom = top + strip.rows.stop - strip.rows.start
        cells[:, :, :top] = 0
        cells[:, :, bottom:] = 0
        return cells[:, :, top:bottom, PADDING : PADDING + self._width]


def cell_sums(cells: torch.Tensor) -> torch.Tensor:
    """Sums over cells of 4x4: (..., 4 h, 4 w) -> (..., h, w)."""
    sums: torch.Tensor = cells.unflatten(-2, (-1, POOL)).sum(dim=-2).unflatten(-1, (-1, POOL)).sum(dim=-1)
    return sums


def pooled_size(size: Sequence[int]) -> tuple[int, int]:
    return size[0] // POOL + 1, size[1] // POOL + 1


def pooled_floor(size: Sequence[int], device: torch.device) -> torch.Tensor:
    """(h, w) float64: a map of FLOOR after pooling, which is smaller at the borders."""
    covered = []
    for side, count in zip(size, pooled_size(size), strict=True):
        start = torch.arange(count, dtype=torch.float64, device=device) * POOL - PADDING
        covered.append((start + POOL).clamp(max=side) - start.clamp(min=0))
    return FLOOR / POOL**2 * covered[0][:, None] * covered[1]


def pooled_labels(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Pooled one-hot labels times 16: (B, H, W) integer -> (B, K, h, w) uint8. Ignored pixels are zero in every class.

    Pixels are counted per cell, so the one-hot map never exists.
    """
    batch, height, width = labels.shape
    rows, columns = pooled_size((height, width))
    device = labels.device
    row = (torch.arange(height, dtype=torch.int32, device=device) + PADDING) // POOL  # the cell that pools this row
    column = (torch.arange(width, dtype=torch.int32, device=device) + PADDING) // POOL
    pooled = valid_pixels(labels, num_classes) & (row < rows)[:, None] & (column < columns)
    place = row[:, None] * columns + column
    plane = rows * columns
    # Ignored pixels have cells of their own, as many as a class: a GPU adds to one address one after another.
    elsewhere = num_classes * plane + place % plane
    counts = torch.zeros(batch, (num_classes + 1) * plane, dtype=torch.int32, device=device)
    one = torch.ones((), dtype=torch.int32, device=device).expand(height * width)
    for image in range(batch):
        cell = torch.where(pooled[image], labels[image].int() * plane + place, elsewhere)
        counts[image].index_add_(0, cell.flatten(), one)
    return counts[:, : num_classes * plane].view(batch, num_classes, rows, columns).to(torch.uint8)


BCE_WEIGHT = 0.5


def rmi_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: LossNormalizer | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """0.5 BCE + 0.5 RMI; BCE alone if a side is below 8 pixels, which is too small for one neighbourhood.

    RMI is the sum over classes of the mean over the batch of 0.5 logdet(M + ridge) / 9, where
    M = C_yy - C_yp (C_pp + ridge)^-1 C_yp^T and C are the unnormalised covariances of neighbourhoods
    (`losses.rmi_statistics`).

    `logits` is (B, K, H, W), `labels` (B, H, W) integer. A pixel whose label is not a class is ignored: RMI sees label
    0 with the least probability there. `counts` is the normaliser of the whole batch, by default of these images.
    `weights` (B, H, W) of the pixels count in BCE only, because RMI is a statistic of regions.
    """
    counts = counts or loss_normalizer(labels, logits.shape[1], weights)
    if min(logits.shape[-2:]) < POOL * (RADIUS - 1):
        return bce_loss(logits, labels, counts, weights)
    with torch.autocast(logits.device.type, enabled=False):
        bce, rmi = _Sums.apply(logits, labels)  # type: ignore[no-untyped-call]  # torch's
        if weights is not None:  # a separate pass
            bce = summed_bce(logits, labels, weights)
        loss = BCE_WEIGHT * bce / (counts.valid + 1) + (1 - BCE_WEIGHT) * rmi / (WINDOW * counts.images)
        scalar: torch.Tensor = loss.to(loss_type(logits))
        return scalar


class _Sums(torch.autograd.Function):
    """Float64 sums of BCE over valid pixels and classes, and of RMI over images and classes.

    The backward pass computes both gradients together. It saves logits, labels and pooled maps, nothing else of full
    size.
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
    """Pad to the grid with zeros, for the pixels that the pooling leaves out."""
    height, width = grid_size(size)
    return torch.nn.functional.pad(slope, (0, width - slope.shape[3], 0, height - slope.shape[2]))
