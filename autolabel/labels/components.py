"""Connected regions of a label map: pixels of one value that touch side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def components(labels: NDArray[np.integer]) -> Ids:
    """(H, W) id of each pixel's region, from 0; ids rise with the first pixel of a region in reading order.

    Runs along the rows are joined with those that touch them below, by labels that sink to the smallest of each region
    (Shiloach and Vishkin, An O(log n) parallel connectivity algorithm, 1982).
    """
    runs = _runs(labels)
    touching = labels[1:] == labels[:-1]
    pairs = np.stack([runs[:-1][touching], runs[1:][touching]], axis=1)
    fresh = np.ones(len(pairs), bool)
    fresh[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    roots = _smallest(int(runs[-1, -1]) + 1, *pairs[fresh].T)
    _, dense = np.unique(roots, return_inverse=True)
    ids: Ids = dense[runs]
    return ids


def _runs(labels: NDArray[np.integer]) -> Ids:
    """(H, W) number of each pixel's run of equal values along its row."""
    starts = np.ones(labels.shape, bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    return starts.ravel().cumsum().reshape(labels.shape) - 1


def _smallest(size: int, left: Ids, right: Ids) -> Ids:
    """(size,) the smallest node that each node is connected with by the edges left - right."""
    root = np.arange(size)
    while True:
        low = np.minimum(root[left], root[right])
        before = root.copy()
        np.minimum.at(root, before[left], low)
        np.minimum.at(root, before[right], low)
        while not np.array_equal(jumped := root[root], root):
            root = jumped
        if np.array_equal(root, before):
            return root


def region_at(labels: NDArray[np.integer], x: int, y: int) -> NDArray[np.bool_]:
    """(H, W) bool: the region that holds the pixel at column x and row y."""
    ids = components(labels)
    region: NDArray[np.bool_] = ids == ids[y, x]
    return region


def small_regions(labels: NDArray[np.uint8], least: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels of regions with fewer pixels than `least` (256,) says for their value."""
    if not np.isin(labels, np.flatnonzero(least > 1)).any():
        return np.zeros(labels.shape, bool)
    ids = components(labels)
    sizes = np.bincount(ids.ravel())
    small: NDArray[np.bool_] = sizes[ids] < least[labels]
    return small
