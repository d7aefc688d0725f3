"""The stream of augmented crops.

A sample's key is its number k in the whole training: epoch k // epoch_images, position k % epoch_images. Its crop, its
jitter and the pixels pasted onto it are functions of (seed, epoch, position) alone. Batches therefore do not depend on
the number of threads, and a resumed run only starts counting at the right k, without reading anything before it.
Batches may span two epochs.

The work runs in threads, not processes: decoding, resizing and numpy release the interpreter lock, nothing is copied
between processes, and all threads use one cache (`benchmarks/training.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch

from autolabel.classes import IGNORE
from autolabel.config.networks import AugmentConfig, OnlinePixels, StrongConfig
from autolabel.data.augment import augment, draw_mix, strong_view
from autolabel.data.loaders import Sample, SegmentationDataset
from autolabel.data.sampling import EpochSampler, SampleSpec, class_centroid
from autolabel.data.streams import Stream
from autolabel.parallel import OrderedMap


class Batch(NamedTuple):
    """B samples as uint8 tensors, with the fields of `Sample`."""

    images: torch.Tensor  # (B, h, w, 3)
    labels: torch.Tensor  # (B, h, w)
    confidence: torch.Tensor | None  # (B, h, w)
    weak: torch.Tensor | None = None  # (B, h, w, 3)


ONLINE = IGNORE - 1  # in a crop's label: the training labels this pixel itself


@dataclass(frozen=True)
class AutoCrops:
    """Strong changes of the crops of some images, and which of their pixels are labelled online."""

    is_changed: Sequence[bool]  # of each training image
    strong: StrongConfig
    online: OnlinePixels | None

    def before_crop(self, sample: Sample, index: int) -> Sample:
        """Mark the pixels that are labelled online. A crop's pixels outside its image are not among them."""
        if self.online is None or not self.is_changed[index]:
            return sample
        chosen = (sample.label == IGNORE) | (self.online == "all")
        return sample._replace(label=np.where(chosen, np.uint8(ONLINE), sample.label))

    def after_crop(
        self, view: Sample, index: int, *, blur_sigma: tuple[float, float], rng: np.random.Generator
    ) -> Sample:
        image = view.image
        if self.is_changed[index]:
            image = strong_view(image, settings=self.strong, blur_sigma=blur_sigma, rng=rng)
        return view._replace(image=image, weak=None if self.online is None else view.image)


@dataclass
class CropDataset:
    """Augmented crops by their number in the training. Several threads may use it at once."""

    pairs: SegmentationDataset
    sampler: EpochSampler
    augment: AugmentConfig
    crop: tuple[int, int]
    tile: int  # px, for class-uniform draws; see `data.sampling`
    fill: tuple[int, int, int]
    auto: AutoCrops | None = None  # how crops of images without a fine label differ

    def __post_init__(self) -> None:
        self._items = lru_cache(maxsize=2)(self.sampler.items)  # threads may be in two epochs at once

    def __getitem__(self, number: int) -> Sample:
        epoch, position = divmod(number, self.sampler.epoch_images)
        items = self._items(epoch)
        view = self._view(items[position], np.random.default_rng([self.sampler.seed, Stream.AUGMENT, epoch, position]))
        self._mix(view, items, np.random.default_rng([self.sampler.seed, Stream.MIX, epoch, position]))
        if self.auto is None:
            return view
        rng = np.random.default_rng([self.sampler.seed, Stream.STRONG, epoch, position])
        return self.auto.after_crop(view, items[position].index, blur_sigma=self.augment.blur_sigma, rng=rng)

    def _view(self, item: SampleSpec, rng: np.random.Generator) -> Sample:
        sample = self.pairs[item.index]
        centre = None
        if item.class_id is not None:
            centre = class_centroid(sample.label, item.class_id, tile=self.tile, position=item.tile_position)
        if self.auto is not None:
            sample = self.auto.before_crop(sample, item.index)
        return augment(sample, settings=self.augment, crop=self.crop, centre=centre, rng=rng, fill=self.fill)

    def _mix(self, view: Sample, items: list[SampleSpec], rng: np.random.Generator) -> None:
        """Paste pixels of another sample of the epoch, which gets a crop of its own.

        The sample is not from the batch, because ranks and micro-batches split that.
        """
        mix = draw_mix(self.augment, rng)
        if mix is None:
            return
        pasted = self._view(items[int(rng.integers(len(items)))], rng)
        mask = mix(pasted.label, rng)
        for below, above in zip(view, pasted, strict=True):
            if below is not None and above is not None:
                below[mask] = above[mask]


class _Place(NamedTuple):
    """The place of sample `number`: a row of a batch."""

    number: int
    batch: Batch
    row: int


def batches(
    crops: CropDataset, *, start: int, stop: int, step: int = 1, batch: int, workers: int, pin: bool = False
) -> Generator[Batch]:
    """Yield every `step`-th sample of start .. stop in batches of `batch`, made ahead by `workers` threads.

    The threads are at most one batch and `workers` samples ahead; closing the generator ends them. Errors in reading a
    sample are raised unchanged.
    """

    def make(place: _Place) -> _Place:
        # numpy copies here, because torch would start threads of its own.
        for whole, array in zip(place.batch, crops[place.number], strict=True):
            if whole is not None and array is not None:
                whole[place.row].numpy()[...] = array
        return place

    def empty(count: int) -> Batch:
        layer = partial(torch.empty, dtype=torch.uint8, pin_memory=pin)
        size = count, *crops.crop
        confidence = layer(size) if crops.pairs.has_confidence else None
        weak = None if crops.auto is None or crops.auto.online is None else layer((*size, 3))
        return Batch(layer((*size, 3)), layer(size), confidence, weak)

    places = _places(range(start, stop, step), batch, empty)
    with OrderedMap(make, places, workers=workers, ahead=batch + workers) as made:
        for place in made:
            if place.row == len(place.batch.images) - 1:
                yield place.batch


def _places(numbers: range, batch: int, empty: Callable[[int], Batch]) -> Iterator[_Place]:
    for first in range(0, len(numbers), batch):
        group = numbers[first : first + batch]
        whole = empty(len(group))
        for row, number in enumerate(group):
            yield _Place(number, whole, row)
