"""Codes beside fine labels of the held-out images: for the audit, for calibration and for `autolabel thresholds`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autolabel.artifacts import ShardIndex
from autolabel.store import Artefact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.data.manifest import Manifest
    from autolabel.labels.calibration import CellCounts


class HeldOut(NamedTuple):
    """One image; maps (H, W)."""

    id: str
    group: str
    classes: NDArray[np.uint8]  # the teacher's, whatever their probability; 255 = no prediction
    bins: NDArray[np.integer]
    fine: NDArray[np.uint8]  # train ids, 255 = ignore


def held_out_images(
    codes: Artefact,
    index: ShardIndex,
    data: Manifest,
    roots: Mapping[str, Path],
    *,
    jobs: int,
    check: Callable[[], None],
) -> Iterator[HeldOut]:
    """Every val image with codes and a fine label, in order; loaded by threads, a few images ahead."""
    from autolabel.data.loaders import load_label
    from autolabel.labels.shards import Shard, read_shard
    from autolabel.parallel import OrderedMap

    def coded() -> Iterator[tuple[Shard, str]]:
        for entry in index.of_split("val"):
            shard = read_shard(codes.read(entry.name), where=entry.name)
            yield from ((shard, image_id) for image_id in shard.ids)

    def load(item: tuple[Shard, str]) -> HeldOut | None:
        shard, image_id = item
        row = data.label(image_id, "fine")
        if row is None:
            return None
        classes, bins = index.book.classes_and_bins(shard.codes(image_id))
        return HeldOut(image_id, data.image(image_id).group, classes, bins, load_label(row, roots, data.classes))

    with OrderedMap(load, coded(), workers=jobs, ahead=jobs) as images:
        for image in images:
            check()
            if image is not None:
                yield image


def held_out_cells(images: Iterator[HeldOut], index: ShardIndex) -> CellCounts:
    """The counts that calibration needs. Raises DataError without an image."""
    from autolabel.errors import DataError
    from autolabel.labels.calibration import CellCounts

    cells = CellCounts(index.book)
    for image in images:
        cells.add(image.classes, image.bins, image.fine)
    if not cells.pixels.any():
        remedy = 'hold a few finely labelled images out, or set label.threshold_on = "network"'
        raise DataError("codes", "no val image has codes and a fine label to calibrate on", remedy)
    return cells
