"""Patches of a map that does not exist: HRNet's branches resized to the finest and joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autolabel.models.taps import Taps, bilinear


class Patches(NamedTuple):
    """Squares of one size on the finest branch; they may reach beyond its lower and right border."""

    image: np.ndarray  # (n,) which of the batch
    top: np.ndarray  # (n,)
    left: np.ndarray  # (n,)
    size: int

    def inside(self, height: int, width: int) -> np.ndarray:
        """(n, size, size): whether a pixel lies on a map of this size."""
        offsets = np.arange(self.size)
        rows, columns = (self.top[:, None] + offsets) < height, (self.left[:, None] + offsets) < width
        return rows[:, :, None] & columns[:, None, :]

    def cut_from(self, x: Tensor) -> Tensor:
        """(B, C, h, w) of a map that exists -> (n, C, size, size), zero outside."""
        height, width = x.shape[-2:]
        offsets = np.arange(self.size)
        rows = torch.from_numpy(np.minimum(self.top[:, None] + offsets, height - 1)).to(x.device)
        columns = torch.from_numpy(np.minimum(self.left[:, None] + offsets, width - 1)).to(x.device)
        image = torch.from_numpy(self.image).to(x.device)
        found = x.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]]
        inside = torch.from_numpy(self.inside(height, width)).to(x.device)
        return found.mul_(inside[..., None]).permute(0, 3, 1, 2)  # channels last in memory


class JoinedPatches:
    """What `branch_conv.resized_and_joined` would hold there: (n, sum of C_b, size + 2 margin, ...), zero outside.

    Exact but for rounding, at any ratio of sizes.
    """

    def __init__(self, branches: Sequence[Tensor], where: Patches, *, margin: int) -> None:
        height, width = branches[0].shape[-2:]
        size = where.size + 2 * margin
        self._image = torch.from_numpy(where.image).to(branches[0].device)
        self._branches = [
            (
                x.permute(0, 2, 3, 1),
                _on(x, _windows(bilinear(x.shape[2], height), where.top - margin, size)),
                _on(x, _windows(bilinear(x.shape[3], width), where.left - margin, size)),
            )
            for x in branches
        ]

    def __getitem__(self, which: slice) -> Tensor:
        """Of some of the patches."""
        joined = []
        for x, (rows, of_rows), (columns, of_columns) in self._branches:
            source = x[self._image[which, None, None], rows[which, :, None], columns[which, None, :]]  # (n, r, c, C)
            wide = torch.matmul(of_columns[which, None], source)  # (n, r, size, C)
            tall = torch.matmul(of_rows[which], wide.flatten(2))  # (n, size, size C)
            joined.append(tall.unflatten(2, wide.shape[2:]))
        return torch.cat(joined, dim=-1).permute(0, 3, 1, 2)  # channels last in memory


class _Windows(NamedTuple):
    """For each patch the source positions of its rows, or columns, and the matrix from them."""

    sources: np.ndarray  # (n, r)
    matrix: np.ndarray  # (n, size, r)


def _windows(taps: Taps, starts: np.ndarray, size: int) -> _Windows:
    places, which = np.unique(starts, return_inverse=True)
    blocks = [taps.block(max(0, start), min(len(taps), start + size)) for start in places]
    reach = max(block.shape[1] for _, block in blocks)
    sources = np.zeros((len(places), reach), dtype=np.int64)
    matrix = np.zeros((len(places), size, reach))
    for i, (start, (low, block)) in enumerate(zip(places, blocks, strict=True)):
        sources[i] = np.minimum(low + np.arange(reach), taps.source - 1)
        first = max(0, -start)
        matrix[i, first : first + len(block), : block.shape[1]] = block
    return _Windows(sources[which], matrix[which])


def _on(x: Tensor, windows: _Windows) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(windows.sources).to(x.device), torch.from_numpy(windows.matrix).to(x)
