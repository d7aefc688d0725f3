"""Region mutual information loss (Zhao et al., arXiv 1910.12037), in the form the published networks were trained with.

A class's map of probabilities p and of labels y are pooled; every 3x3 neighbourhood is a 9-vector. What the loss
minimises is the log-determinant of the covariance of y given p: neighbourhoods of the label that those of the
prediction do not explain. It may be negative: a class absent from the crop gives 0.5 ln(5e-4) = -3.80.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from autolabel.losses.bce import bce_loss
from autolabel.losses.counts import Counts, batch_counts
from autolabel.losses.valid import valid_pixels
from autolabel.models.layers import at_least_float32

POOL = 4  # kernel and stride of the pooling; its padding is half of that
RADIUS = 3  # neighbourhoods of 3x3
WINDOW = RADIUS * RADIUS
FLOOR = 1e-6  # least probability
RIDGE = 5e-4  # on the diagonal of a covariance
LOG_FLOOR = 1e-8
BCE_SHARE = 0.5
CHUNK_BYTES = 64 * 2**20  # neighbourhoods held at once


def rmi_loss(logits: torch.Tensor, labels: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
    """0.5 BCE + 0.5 RMI; BCE alone where a side is below 8 pixels, too small for one neighbourhood.

    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored; `counts` of the batch
    they are part of, by default their own. Statistics are float64.
    """
    counts = counts or batch_counts(labels, logits.shape[1])
    bce = bce_loss(logits, labels, counts)
    if min(logits.shape[-2:]) < POOL * (RADIUS - 1):
        return bce
    return BCE_SHARE * bce + (1 - BCE_SHARE) * rmi_part(logits, labels, counts.images).to(bce.dtype)


def rmi_part(logits: torch.Tensor, labels: torch.Tensor, images: int) -> torch.Tensor:
    """Sum over classes of the mean over a batch of `images` of 0.5 logdet(M + ridge) / 9, float64, with
    M = C_yy - C_yp (C_pp + ridge)^-1 C_yp^T of the unnormalised covariances C.

    M + ridge is a Schur complement of the ridged joint covariance of (p, y), so the last nine pivots of one Cholesky
    factor are those of chol(M + ridge): there is no inverse, and nothing that fails where p comes near y.
    """
    with torch.autocast(logits.device.type, enabled=False):
        valid = valid_pixels(labels, logits.shape[1])
        probabilities = torch.sigmoid(at_least_float32(logits)) * valid.unsqueeze(1) + FLOOR
        pooled = F.avg_pool2d(probabilities, POOL, POOL, POOL // 2).double()  # (B, K, h, w)
        targets = pooled_one_hot(labels, logits.shape[1])
        joint = _NeighbourhoodCovariance.apply(pooled.flatten(0, 1), targets.flatten(0, 1))  # (B K, 18, 18)
        ridge = RIDGE * torch.eye(2 * WINDOW, dtype=joint.dtype, device=joint.device)
        factor, failed = torch.linalg.cholesky_ex(joint + ridge)  # no exception, no wait for the device
        pivots = factor.diagonal(dim1=-2, dim2=-1)[:, WINDOW:]  # (B K, 9)
        pivots = torch.where(failed[:, None] == 0, pivots, torch.nan)  # only non-finite logits come to this
        return torch.log(pivots + LOG_FLOOR).sum() / (WINDOW * images)


def pooled_one_hot(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """The pooling of `rmi_part` on the one-hot labels, by counting.

    (B, H, W) integer -> (B, K, H // 4 + 1, W // 4 + 1) float64. Ignored pixels
    are zero in every class. The full-size one-hot map never exists.
    """
    batch, height, width = labels.shape
    rows, columns = height // POOL + 1, width // POOL + 1
    device = labels.device
    row = (torch.arange(height, device=device) + POOL // 2) // POOL  # the cell that pools this row
    column = (torch.arange(width, device=device) + POOL // 2) // POOL
    counted = valid_pixels(labels, num_classes) & (row < rows)[:, None] & (column < columns)
    plane = torch.arange(batch, device=device)[:, None, None] * num_classes + labels.long()
    cells = batch * num_classes * rows * columns
    cell = torch.where(counted, (plane * rows + row[:, None]) * columns + column, cells)
    counts = torch.bincount(cell.flatten(), minlength=cells + 1)[:cells]
    return counts.view(batch, num_classes, rows, columns).double() / POOL**2


class _NeighbourhoodCovariance(torch.autograd.Function):
    """(N, h, w) float64 predictions and labels -> (N, 18, 18) unnormalised covariance of their 3x3 neighbourhoods.

    Only the two maps are kept for the backward pass; the nine times larger neighbourhoods are made again, some maps
    at a time. With C = X X^T of centred rows X, dX = (G + G^T) X; each row of it adds back to where it was cut out.
    """

    @staticmethod
    def forward(ctx: Any, predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(predictions, labels)
        return torch.cat([x @ x.transpose(1, 2) for x in _neighbourhoods(predictions, labels)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        predictions, labels = ctx.saved_tensors
        count, height, width = predictions.shape
        size = height - RADIUS + 1, width - RADIUS + 1
        result = torch.zeros_like(predictions)
        weights = (gradient + gradient.transpose(1, 2))[:, :WINDOW]  # (N, 9, 18): the labels need no gradient
        start = 0
        for x in _neighbourhoods(predictions, labels):
            stop = start + x.shape[0]
            rows = (weights[start:stop] @ x).view(-1, WINDOW, *size)
            for k in range(WINDOW):
                _shifted(result[start:stop], k, size).add_(rows[:, k])
            start = stop
        assert start == count
        return result, None


def _neighbourhoods(predictions: torch.Tensor, labels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Chunks of maps as centred rows: (n, 18, positions), nine shifts of the predictions, nine of the labels."""
    count, height, width = predictions.shape
    size = height - RADIUS + 1, width - RADIUS + 1
    step = max(1, CHUNK_BYTES // (2 * WINDOW * size[0] * size[1] * predictions.element_size()))
    for start in range(0, count, step):
        part = slice(start, start + step)
        shifts = [_shifted(maps[part], k, size) for maps in (predictions, labels) for k in range(WINDOW)]
        rows = torch.stack(shifts, dim=1).flatten(2)  # (n, 18, positions)
        yield rows.sub_(rows.mean(dim=2, keepdim=True))


def _shifted(maps: torch.Tensor, k: int, size: tuple[int, int]) -> torch.Tensor:
    """View of element `k` of every neighbourhood: (n, h, w) -> (n, *size)."""
    row, column = divmod(k, RADIUS)
    return maps[:, row : row + size[0], column : column + size[1]]
