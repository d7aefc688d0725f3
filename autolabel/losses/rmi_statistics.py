"""Region mutual information of pooled maps, and its gradient in closed form.

The predictions p and labels y of a class are two maps; the 3x3 neighbourhoods of both at one position form a vector of
18. Let J be the covariance of these vectors (not divided by their number) plus a ridge, and L its Cholesky factor. The
last nine pivots of L are those of the covariance of y given p, a Schur complement of J, so no inverse is needed and
nothing fails where p is close to y. The information f is the sum of log(pivot + 1e-8) over these nine. Its gradient is
df/dJ = 1/2 Z^T Z, where Z are the last nine rows of L^-1, each times sqrt(pivot / (pivot + 1e-8)).

A vector consists of three rows of six entries (maps x column shifts). Products of a row with itself and the next two,
summed over the rows that a neighbourhood's row may take, give every entry of J, exactly at the borders too. All
computation is in float64, because float32 loses the small pivots of J.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from autolabel.losses.rmi_kernels_torch import kernels
from autolabel.losses.tiling import POOL, work_size

RADIUS = 3  # neighbourhoods of 3x3
WINDOW = RADIUS * RADIUS
RIDGE = 5e-4  # on the diagonal of a covariance
LOG_FLOOR = 1e-8
CPU_BYTES = 2**20  # of maps per thread; temporaries take seven times as much and fit into the caches of a core
OTHER_BYTES = 32 * 2**20


class Statistics(NamedTuple):
    """Statistics of N maps that the gradient needs besides the maps."""

    whitener: torch.Tensor  # (N, 9, 18), Z above
    means: torch.Tensor  # (N, 18), of the entries of a vector after each map is centred


def information(predictions: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
    """(N, h, w) float64 predictions, (N, h, w) labels in sixteenths -> (N,) information, and statistics for `gradient`.

    h and w are at least 3. The result is NaN for a map that is not finite.
    """
    num_positions = (predictions.shape[1] - RADIUS + 1) * (predictions.shape[2] - RADIUS + 1)
    joint = predictions.new_empty(len(predictions), 2 * WINDOW, 2 * WINDOW)
    means = predictions.new_empty(len(predictions), 2 * WINDOW)
    for part, p, y in _centred(predictions, counts):
        joint[part], means[part] = _covariance(*kernels(p.device).products(p, y), num_positions)
    identity = torch.eye(2 * WINDOW, dtype=joint.dtype, device=joint.device)
    factor, failed = torch.linalg.cholesky_ex(joint + RIDGE * identity)  # neither raises nor waits for the device
    pivots = factor.diagonal(dim1=1, dim2=2)[:, WINDOW:]  # (N, 9)
    pivots = torch.where(failed[:, None] == 0, pivots, torch.nan)  # fails only for maps that are not finite
    inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    whitener = inverse[:, WINDOW:] * (pivots / (pivots + LOG_FLOOR)).sqrt().unsqueeze(2)
    return torch.log(pivots + LOG_FLOOR).sum(dim=1), Statistics(whitener, means)


def gradient(predictions: torch.Tensor, counts: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    """The gradient (N, h, w) of the information of each map with respect to its predictions.

    A covariance X X^T of centred vectors X gives dX = 2 (df/dJ) X; each row of it is added to the pixels it came from.
    """
    z, means = statistics
    weights = z[:, :, :WINDOW].mT @ z  # (N, 9, 18): the labels need no gradient
    shifts = (weights @ means.unsqueeze(2)).view(-1, RADIUS, RADIUS)  # X is centred
    bands = _row_bands(weights).flatten(2)  # (N, 3, 90)
    allowed = _allowed_rows(predictions.shape[1], predictions.device)
    result = torch.empty_like(predictions)
    for part, p, y in _centred(predictions, counts):
        row_weights = (allowed @ bands[part]).unflatten(2, (RADIUS, -1))  # (n, h, 3, 30)
        result[part] = kernels(p.device).spread(p, y, row_weights, allowed @ shifts[part])
    return result


def _centred(predictions: torch.Tensor, counts: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Slices of the maps, each without its mean: covariances are the same and more precise."""
    count, height, width = predictions.shape
    step = max(1, work_size(predictions.device, CPU_BYTES, OTHER_BYTES) // (8 * height * width))
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        p, y = predictions[part], counts[part].double() / POOL**2
        yield part, p - p.mean(dim=(1, 2), keepdim=True), y - y.mean(dim=(1, 2), keepdim=True)


def _covariance(products: torch.Tensor, sums: torch.Tensor, num_positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over rows -> (N, 18, 18) covariance, in the order map, row, column of the window; (N, 18) means."""
    count, height = products.shape[:2]
    moments = products.new_empty(count, RADIUS, 6, RADIUS, 6)
    means = products.new_empty(count, RADIUS, 6)
    for a in range(RADIUS):
        used = slice(a, a + height - RADIUS + 1)  # rows of the map that are row `a` of a neighbourhood
        means[:, a] = sums[:, used].sum(dim=1) / num_positions
        block = products[:, used].sum(dim=1)  # (N, 6, 18)
        for b in range(a, RADIUS):
            moments[:, a, :, b] = block[:, :, 6 * (b - a) : 6 * (b - a + 1)]
            moments[:, b, :, a] = moments[:, a, :, b].mT
    means = means.view(count, RADIUS, 2, RADIUS).transpose(1, 2).reshape(count, 2 * WINDOW)
    ordered = moments.view(count, RADIUS, 2, RADIUS, RADIUS, 2, RADIUS).permute(0, 2, 1, 3, 5, 4, 6)
    second = ordered.reshape(count, 2 * WINDOW, 2 * WINDOW)
    return second - num_positions * means.unsqueeze(2) * means.unsqueeze(1), means


def _row_bands(weights: torch.Tensor) -> torch.Tensor:
    """(N, 9, 18) -> (N, 3, 3, 5, 2, 3): window row and column of p; row lag -2..2, map, column of the other."""
    count = weights.shape[0]
    whole = weights.view(count, RADIUS, RADIUS, 2, RADIUS, RADIUS)
    bands = weights.new_zeros(count, RADIUS, RADIUS, 2 * RADIUS - 1, 2, RADIUS)
    for a in range(RADIUS):
        for b in range(RADIUS):
            bands[:, a, :, b - a + RADIUS - 1] = whole[:, a, :, :, b]
    return bands


def _allowed_rows(height: int, device: torch.device) -> torch.Tensor:
    """(h, 3) float64: 1 if a row of the map is that row of some neighbourhood; near the borders it may not be."""
    top = torch.arange(height, device=device)[:, None] - torch.arange(RADIUS, device=device)
    return ((top >= 0) & (top <= height - RADIUS)).double()
