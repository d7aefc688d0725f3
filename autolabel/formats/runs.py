"""Run lengths: the regions of a label map as alternating numbers of pixels outside and inside.

COCO counts pixels down the columns, CVAT and Label Studio along the rows; a caller passes the flattened map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import LabelError

Counts = NDArray[np.int64]


def class_runs(flat: NDArray[np.uint8]) -> dict[int, Counts]:
    """Counts per value that occurs in a flat map of N pixels: outside, inside, outside, ...; they add up to N.

    The first is 0 if the map begins inside; no other count is 0.
    """
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    present, first = np.unique(values[order], return_index=True)
    groups = zip(present.tolist(), np.split(order, first[1:]), strict=True)
    return {value: _counts(starts[runs], ends[runs], flat.size) for value, runs in groups}


def _counts(starts: Counts, ends: Counts, size: int) -> Counts:
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [size]]))
    return counts if counts[-1] else counts[:-1]


def inside_runs(counts: Counts, size: int, where: object) -> tuple[Counts, Counts]:
    """Start and end of each run inside. Raises LabelError unless the counts are >= 0 and add up to `size`."""
    if counts.size and counts.min() < 0:
        raise LabelError(where, "run lengths are negative", "export the annotation again")
    ends = np.cumsum(counts)
    total = int(ends[-1]) if counts.size else 0
    if total != size:
        raise LabelError(where, f"run lengths cover {total} pixels, the region has {size}", "export the image again")
    return ends[:-1:2], ends[1::2]
