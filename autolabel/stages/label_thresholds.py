"""The thresholds of a label set, by the rule that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from autolabel.artifacts import ShardEntry, ShardIndex
from autolabel.config.schema import LabelConfig
from autolabel.flow.stage import Context
from autolabel.hardware import usable_cores
from autolabel.stages.held_out import held_out_cells, held_out_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.data.manifest import Manifest


class ChosenThresholds(NamedTuple):
    lut: NDArray[np.uint8]  # code -> train id, 255 = ignore
    used: dict[str, float | None]  # by class: the bin edge above which pixels are kept; None: it keeps no pixel


def choose_thresholds(ctx: Context[LabelConfig], data: Manifest, index: ShardIndex) -> ChosenThresholds:
    """Depends on settings and inputs only: a resumed stage chooses the same."""
    from autolabel.labels.threshold_rules import edge_of_bin

    book, names = index.book, data.classes.names
    if ctx.settings.threshold_on == "calibrated":
        bins = _calibrated(ctx, data, index)
    elif ctx.settings.threshold == "quantile":
        bins = [book.lowest_bin(value) for value in _quantiles(ctx, data, index)]
    else:
        bins = [book.lowest_bin(value) for value in fixed_thresholds(ctx.settings, names)]
    used = {name: edge_of_bin(book, lowest) for name, lowest in zip(names, bins, strict=True)}
    return ChosenThresholds(book.lut_from_bins(bins), used)


def fixed_thresholds(settings: LabelConfig, names: tuple[str, ...]) -> tuple[float, ...]:
    """The numbers in the settings, one per class; 0.5 stands for a number that a rule chooses."""
    from autolabel.labels.codebook import thresholds_per_class

    threshold = 0.5 if isinstance(settings.threshold, str) else settings.threshold
    return thresholds_per_class(names, threshold, settings.class_thresholds)


def _calibrated(ctx: Context[LabelConfig], data: Manifest, index: ShardIndex) -> list[int]:
    from autolabel.labels.calibration import calibrate
    from autolabel.labels.threshold_rules import calibrated_bins

    jobs = ctx.runtime.jobs or usable_cores()
    images = held_out_images(ctx.inputs["codes"], index, data, ctx.roots(), jobs=jobs, check=ctx.stop.check)
    probabilities = calibrate(held_out_cells(images, index))
    return calibrated_bins(probabilities, fixed_thresholds(ctx.settings, data.classes.names))


def _quantiles(ctx: Context[LabelConfig], data: Manifest, index: ShardIndex) -> list[float]:
    """From the histogram of all pixels to label, which takes one more pass over the codes."""
    import numpy as np

    from autolabel.labels.shards import read_shard
    from autolabel.labels.threshold_rules import histogram_of, per_class, quantile_thresholds
    from autolabel.parallel import OrderedMap

    def count(entry: ShardEntry) -> NDArray[np.int64]:
        ctx.stop.check()
        shard = read_shard(ctx.inputs["codes"].read(entry.name), where=entry.name)
        tables = (histogram_of(index.book, shard.codes(image_id)) for image_id in shard.ids)
        return sum(tables, start=np.zeros((index.book.num_classes, index.book.bins), np.int64))

    jobs = ctx.runtime.jobs or usable_cores()
    total = np.zeros((index.book.num_classes, index.book.bins), np.int64)
    with OrderedMap(count, index.of_split("train"), workers=jobs, ahead=jobs) as tables:
        for table in tables:
            total += table
    chosen = quantile_thresholds(total, index.book.edges, ctx.settings.quantile, ctx.settings.quantile_range)
    return per_class(data.classes.names, chosen, ctx.settings.class_thresholds)
