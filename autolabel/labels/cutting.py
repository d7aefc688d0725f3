"""One shard of codes to encoded label maps: a pure function for worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from autolabel.classes import IGNORE
from autolabel.labels.codecs import CODECS
from autolabel.labels.cut import cut, reasons
from autolabel.labels.shards import read_shard
from autolabel.labels.weights import weigh, weight_table


class CutLabel(NamedTuple):
    id: str
    png: bytes  # the label map, as the codec makes it
    counts: tuple[int, ...]  # pixels a class, then ignored ones: (K + 1)
    reasons: dict[str, int]  # see `autolabel.labels.cut.reasons`
    weights: bytes | None = None  # the map of weights, likewise, where it was asked for


def cut_shard(
    data: bytes,
    lut: np.ndarray,
    coarse_by_id: Mapping[str, np.ndarray | None],
    policy: str = "off",
    *,
    weighed: bool = False,
    codec: str = "default",
) -> list[CutLabel]:
    """Cut every image of a shard, in its order. `coarse_by_id` may lack images that have no coarse label.

    `codec` is one of CODECS, its library installed; maps of weights take it too. DataError for a damaged shard or a
    coarse label of another size, ConfigError for an unknown policy.
    """
    shard, encode = read_shard(data), CODECS[codec]
    results = []
    for image_id in shard.ids:
        codes, coarse = shard.codes(image_id), coarse_by_id.get(image_id)
        labels = cut(codes, lut, coarse=coarse, policy=policy)
        why = reasons(codes, lut, shard.book.num_codes, coarse=coarse, policy=policy)
        weights = weigh(codes, labels, weight_table(shard.book), coarse=coarse, policy=policy) if weighed else None
        results.append(
            CutLabel(
                image_id,
                encode(labels),
                count_pixels(labels, shard.book.num_classes),
                why,
                None if weights is None else encode(weights),
            )
        )
    return results


def count_pixels(labels: np.ndarray, num_classes: int) -> tuple[int, ...]:
    """Pixels of every class of a (H, W) uint8 map, then the ignored ones: (K + 1); their sum is H * W."""
    counts = np.bincount(labels.ravel(), minlength=256)
    assert counts[num_classes:IGNORE].sum() == 0, "a label outside the classes"
    return (*counts[:num_classes].tolist(), int(counts[IGNORE]))
