"""Outlines against a flood fill: one ring a 4-connected region, with the region's area."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.formats.outlines import Ring, outlines
from tests.formats.maps import adversarial

MASKS = {
    f"{case} {value}": labels == value for case, (labels, _) in adversarial().items() for value in np.unique(labels)[:3]
}


def region_sizes(mask: np.ndarray) -> list[int]:
    left, sizes = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        waiting, size = [left.pop()], 0
        while waiting:
            y, x = waiting.pop()
            size += 1
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            waiting += near
        sizes.append(size)
    return sorted(sizes)


def area(ring: Ring) -> int:
    return sum(x * y2 - x2 * y for (x, y), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True)) // 2


@pytest.mark.parametrize("case", MASKS)
def test_one_ring_a_region(case: str) -> None:
    rings = outlines(MASKS[case])
    assert sorted(map(area, rings)) == region_sizes(MASKS[case])
    for ring in rings:
        assert all(x == x2 or y == y2 for (x, y), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True))
