"""Order of the training samples: a function of (seed, epoch) alone, so resuming needs no sampler state.

A fraction of each epoch is drawn class-uniformly: first a class, then an image that shows it, then a tile of this image
that shows it; the crop is centred on the centroid of the class in this tile. Rare classes are thus seen as often as
roads are. The reference recipe does the same for half of an epoch with tiles of 1024 px, but pools the tiles of all
images, so that an image with two tiles of a class comes twice as often.

With `fine_share` the finely labelled images make up that fraction of each epoch, however few they are.

The counts in the manifest say which images show a class; the tile is chosen when the label is read for cropping. So
a training starts, and resumes, without reading all labels first.

Phases choose the label layers over the epochs: the published recipe ends on fine labels alone, others go fine -> auto
-> fine. An image has one label here, of one layer. A phase draws evenly from the images of its `layers`, and
class-uniformly from those of its `uniform` layers; where `uniform_classes` are chosen, the other classes are drawn from
fine labels only (Tao et al., arXiv 2005.10821, train on coarse and auto labels by such centroids alone).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from autolabel.classes import id_of_name
from autolabel.config.networks import PhaseConfig, TrainConfig
from autolabel.data.streams import Stream
from autolabel.errors import SettingError


@dataclass(frozen=True)
class SampleSpec:
    """One training sample: an image, and for a class-uniform draw the class that its crop must show."""

    index: int
    class_id: int | None = None
    tile_position: float = 0.0  # position of the tile among those that show the class, in [0, 1)


def class_centroid(label: np.ndarray, class_id: int, *, tile: int, position: float) -> tuple[int, int]:
    """Centroid (y, x) of a class in one of the `tile` x `tile` px tiles of a label (H, W) that show it.

    `position` in [0, 1) chooses among these tiles, row by row. The centroid of a bent or split region may lie outside
    it; the result is the nearest pixel of the class in the tile, so that a crop around it really shows the class.
    """
    is_class = label == class_id
    height, width = label.shape
    tiles = [
        (top, left)
        for top in range(0, height, tile)
        for left in range(0, width, tile)
        if is_class[top : top + tile, left : left + tile].any()
    ]
    assert tiles, f"class {class_id} is counted in this label, but not in its pixels"
    top, left = tiles[int(position * len(tiles))]
    ys, xs = np.nonzero(is_class[top : top + tile, left : left + tile])
    nearest = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
    return top + int(ys[nearest]), left + int(xs[nearest])


@dataclass(frozen=True)
class SamplingGroup:
    """Images that make up a fraction of an epoch."""

    images: Sequence[int]  # drawn evenly
    images_by_class: tuple[np.ndarray, ...]  # drawn class-uniformly: per class the images that show it

    @cached_property
    def present(self) -> list[int]:
        """The classes that can be drawn."""
        return [class_id for class_id, images in enumerate(self.images_by_class) if len(images)]


@dataclass(frozen=True)
class SamplingPhase:
    """A number of epochs and the images that they draw from: one group, or finely labelled images and all others."""

    epochs: int
    groups: tuple[SamplingGroup, ...]
    first_share: float = 1.0  # fraction of an epoch that is drawn from the first group

    def sizes(self, epoch_images: int) -> tuple[int, ...]:
        """Number of draws per group in an epoch."""
        if len(self.groups) == 1:
            return (epoch_images,)
        first = round(self.first_share * epoch_images)
        return first, epoch_images - first


@dataclass(frozen=True)
class EpochSampler:
    """Draws `epoch_images` items per epoch from one phase after the other; the last phase has no end.

    The even draws walk through one permutation of a phase's images after the other, across epochs, so that at any time
    each image has been drawn equally often, plus or minus one. Phases with the same images continue one walk.
    """

    phases: tuple[SamplingPhase, ...]
    seed: int
    epoch_images: int
    class_uniform: float

    def items(self, epoch: int) -> list[SampleSpec]:
        number, first_epoch = self._phase_of(epoch)
        phase = self.phases[number]
        rng = np.random.default_rng([self.seed, Stream.EPOCH, epoch])
        items: list[SampleSpec] = []
        for group, size in zip(phase.groups, phase.sizes(self.epoch_images), strict=True):
            num_even = self._num_even(group, size)
            items += _class_items(rng, group, size - num_even)
            start = self._num_walked(group, number) + (epoch - first_epoch) * num_even
            items += [SampleSpec(index) for index in self._walk(group.images, start, num_even)]
        return [items[i] for i in rng.permutation(len(items))]

    def _phase_of(self, epoch: int) -> tuple[int, int]:
        """The number of an epoch's phase, and the first epoch of this phase."""
        first_epoch = 0
        for number, phase in enumerate(self.phases[:-1]):
            if epoch < first_epoch + phase.epochs:
                return number, first_epoch
            first_epoch += phase.epochs
        return len(self.phases) - 1, first_epoch

    def _num_even(self, group: SamplingGroup, size: int) -> int:
        return size - (round(self.class_uniform * size) if group.present else 0)

    def _num_walked(self, group: SamplingGroup, number: int) -> int:
        """Number of even draws that phases before phase `number` made from the images of a group."""
        images = list(group.images)
        return sum(
            phase.epochs * self._num_even(earlier, size)
            for phase in self.phases[:number]
            for earlier, size in zip(phase.groups, phase.sizes(self.epoch_images), strict=True)
            if list(earlier.images) == images
        )

    def _walk(self, images: Sequence[int], start: int, count: int) -> list[int]:
        """Elements start .. start + count of the endless sequence of permutations of the images."""
        size = len(images)
        rounds = range(start // size, (start + count - 1) // size + 1)
        order = [np.random.default_rng([self.seed, Stream.PERMUTATION, i]).permutation(size) for i in rounds]
        offset = start - rounds.start * size
        return np.asarray(images)[np.concatenate(order)[offset : offset + count]].tolist() if count else []


def _class_items(rng: np.random.Generator, group: SamplingGroup, count: int) -> list[SampleSpec]:
    items = []
    for class_position, image_position, tile_position in rng.random((count, 3)).tolist():
        class_id = group.present[int(class_position * len(group.present))]
        images = group.images_by_class[class_id]
        items.append(SampleSpec(int(images[int(image_position * len(images))]), class_id, tile_position))
    return items


def check_phases(settings: TrainConfig, *, layers: Collection[str], names: Sequence[str]) -> None:
    """Raises ConfigError if a phase has none of the existing label `layers`, or a chosen class does not exist."""
    for number, phase in enumerate(settings.phases, start=1):
        for wanted in (phase.layers, phase.uniform or phase.layers):
            if not any(layer in layers for layer in wanted):
                what = f"phase {number} draws from {' and '.join(wanted)}, and there is no such label"
                raise SettingError("phases", what, f"there are {' and '.join(sorted(layers))} labels")
    for name in settings.uniform_classes or ():
        id_of_name(name, names, where="uniform_classes")


def plan_phases(
    settings: TrainConfig, *, layers: Sequence[str], names: Sequence[str], images_by_class: tuple[np.ndarray, ...]
) -> tuple[SamplingPhase, ...]:
    """The phases of a training.

    `layers` holds the label layer of each training image. `images_by_class` holds per class the images that show it, or
    is empty. Raises the errors of `check_phases`.
    """
    check_phases(settings, layers=set(layers), names=names)
    everything = PhaseConfig(layers=("fine", "auto", "coarse"), epochs=settings.epochs)
    phases = settings.phases or (everything,)
    num_fixed = sum(phase.epochs or 0 for phase in phases)
    group = partial(
        _group, images_by_class=images_by_class, layers=layers, chosen=settings.uniform_classes, names=names
    )
    return tuple(
        SamplingPhase(
            epochs=phase.epochs or settings.epochs - num_fixed,
            groups=tuple(group(phase, of) for of in _layers_of_groups(phase, settings, layers)),
            first_share=1.0 if settings.fine_share is None else settings.fine_share,
        )
        for phase in phases
    )


def _layers_of_groups(phase: PhaseConfig, settings: TrainConfig, layers: Sequence[str]) -> list[Set[str]]:
    """The label layers of each group: all in one, or fine and the rest where both exist and `fine_share` parts them."""
    used = {layer for layer in phase.layers if layer in layers}
    if settings.fine_share is None or "fine" not in used or used == {"fine"}:
        return [{"fine", "auto", "coarse"}]
    return [{"fine"}, {"auto", "coarse"}]


def _group(
    phase: PhaseConfig,
    of: Set[str],
    *,
    images_by_class: tuple[np.ndarray, ...],
    layers: Sequence[str],
    chosen: Collection[str] | None,
    names: Sequence[str],
) -> SamplingGroup:
    uniform = of & set(phase.uniform or phase.layers)
    return SamplingGroup(
        images=[index for index, layer in enumerate(layers) if layer in phase.layers and layer in of],
        images_by_class=_drawable(images_by_class, layers, uniform, chosen, names),
    )


def _drawable(
    images_by_class: tuple[np.ndarray, ...],
    layers: Sequence[str],
    wanted: Collection[str],
    chosen: Collection[str] | None,
    names: Sequence[str],
) -> tuple[np.ndarray, ...]:
    """Images with labels of the wanted layers; for classes that are not chosen, only images with fine labels."""
    of_wanted = np.array([layer in wanted for layer in layers])
    of_fine = of_wanted & np.array([layer == "fine" for layer in layers])
    allowed = [of_wanted if chosen is None or name in chosen else of_fine for name in names]
    return tuple(images[mask[images]] for images, mask in zip(images_by_class, allowed, strict=bool(images_by_class)))
