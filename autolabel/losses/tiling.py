"""Strips of logits, so that the temporaries of a loss and of its gradient never exist at full size.

A strip holds whole cells of the pooling of the RMI loss (kernel and stride 4, padding 2), so that it can be pooled
without its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

POOL = 4
PADDING = POOL // 2
CPU_BYTES = 4 * 2**20  # of float64 per thread; fits into the caches of a core
OTHER_BYTES = 64 * 2**20  # on other devices launches cost more than memory traffic


class Strip(NamedTuple):
    images: slice
    cells: slice  # rows of `grid_size`
    rows: slice  # rows of the logits

    def of(self, maps: torch.Tensor) -> torch.Tensor:
        """View of this strip in (B, ..., H, W) maps."""
        return maps[self.images, ..., self.rows, :]

    def of_any(self, maps: torch.Tensor | None) -> torch.Tensor | None:
        """As `of`, or None without maps."""
        return None if maps is None else self.of(maps)


def grid_size(size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of cells that cover a map of `size`; the pooling itself may leave out an incomplete last one."""
    height, width = size
    return -(-(height + PADDING) // POOL), -(-(width + PADDING) // POOL)


def work_size(device: torch.device, cpu: int, other: int) -> int:
    """Amount of work per step: `cpu` per thread on a CPU, `other` on other devices."""
    return cpu * torch.get_num_threads() if device.type == "cpu" else other


def strip_size(logits: torch.Tensor) -> tuple[int, int]:
    """Images and rows of cells per strip; the last strips have fewer."""
    batch, classes, height, width = logits.shape
    num_rows, num_columns = grid_size((height, width))
    budget = work_size(logits.device, CPU_BYTES, OTHER_BYTES)
    row_bytes = 8 * classes * POOL * num_columns * POOL
    return min(batch, max(1, budget // (row_bytes * num_rows))), min(num_rows, max(1, budget // row_bytes))


def strips(logits: torch.Tensor) -> Iterator[Strip]:
    """The strips of (B, K, H, W), image by image, from top to bottom."""
    batch, _, height, width = logits.shape
    num_rows, _ = grid_size((height, width))
    images, cells = strip_size(logits)
    for image in range(0, batch, images):
        for top in range(0, num_rows, cells):
            bottom = min(top + cells, num_rows)
            rows = slice(max(0, top * POOL - PADDING), min(height, bottom * POOL - PADDING))
            yield Strip(slice(image, min(image + images, batch)), slice(top, bottom), rows)
