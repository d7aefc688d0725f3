"""The pooling of the RMI loss: kernel and stride 4, padding 2, the padding counted."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autolabel.losses.strips import PADDING, POOL, Strip, grid_size, strip_size
from autolabel.losses.valid import valid_pixels

FLOOR = 1e-6  # least probability of a pixel of the map


class Scratch:
    """Float64 (images, K, rows, columns) for one strip at a time, in whole cells; zero outside the map."""

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
        """View of the pixels of the map among the cells."""
        cells = self.cells(strip)
        top = strip.rows.start - (strip.cells.start * POOL - PADDING)
        bottom = top + strip.rows.stop - strip.rows.start
        cells[:, :, :top] = 0
        cells[:, :, bottom:] = 0
        return cells[:, :, top:bottom, PADDING : PADDING + self._width]


def cell_sums(cells: torch.Tensor) -> torch.Tensor:
    """(..., 4 h, 4 w) -> (..., h, w)."""
    return cells.unflatten(-2, (-1, POOL)).sum(dim=-2).unflatten(-1, (-1, POOL)).sum(dim=-1)


def pooled_size(size: Sequence[int]) -> tuple[int, int]:
    return size[0] // POOL + 1, size[1] // POOL + 1


def pooled_floor(size: Sequence[int], device: torch.device) -> torch.Tensor:
    """(h, w) float64: the pooling of FLOOR at every pixel; less at the borders."""
    covered = []
    for side, count in zip(size, pooled_size(size), strict=True):
        start = torch.arange(count, dtype=torch.float64, device=device) * POOL - PADDING
        covered.append((start + POOL).clamp(max=side) - start.clamp(min=0))
    return FLOOR / POOL**2 * covered[0][:, None] * covered[1]


def pooled_labels(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """The pooling of one-hot labels, times 16, by counting: the one-hot map never exists.

    (B, H, W) integer -> (B, K, h, w) uint8. Ignored pixels are zero in every class.
    """
    batch, height, width = labels.shape
    rows, columns = pooled_size((height, width))
    device = labels.device
    row = (torch.arange(height, dtype=torch.int32, device=device) + PADDING) // POOL  # the cell that pools this row
    column = (torch.arange(width, dtype=torch.int32, device=device) + PADDING) // POOL
    pooled = valid_pixels(labels, num_classes) & (row < rows)[:, None] & (column < columns)
    place = row[:, None] * columns + column
    plane = rows * columns
    counts = torch.zeros(batch, num_classes * plane + 1, dtype=torch.int32, device=device)
    one = torch.ones((), dtype=torch.int32, device=device).expand(height * width)
    for image in range(batch):
        cell = torch.where(pooled[image], labels[image].int() * plane + place, num_classes * plane)
        counts[image].index_add_(0, cell.flatten(), one)
    return counts[:, :-1].view(batch, num_classes, rows, columns).to(torch.uint8)
