"""Which crop comes when: the items of an epoch are a function of (seed, epoch), so resuming needs no sampler state.

Epochs may draw from different label layers, one part of the training after the other (`data.phases`).

A share of each epoch is drawn uniformly over *classes*: a class, a picture that holds it, one of its tiles that do, and
the centroid of the class in this tile. Rare classes are thus seen as often as roads are (the reference recipe: half of
an epoch, tiles of 1024 px; there a class's tiles of all pictures are one pool, so that a picture with two of them comes
twice as often). Which pictures hold a class is known from the counts in a manifest; the tile is looked for in a label
when it is read to be cropped. So a training begins, and goes on, without having read a single label.

Label layers over the epochs: the published recipe ends on fine labels alone, others go fine -> auto -> fine.

An image has one label here, of one layer. Every image that a phase may draw evenly is of its `layers`; class-uniform
draws take centroids of its `uniform` layers, in labels that nobody drew finely those of chosen classes only (Tao et
al., arXiv 2005.10821, train on coarse and auto labels by such centroids alone).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autolabel.classes import id_of_name
from autolabel.config.schema import PhaseConfig, TrainConfig
from autolabel.data.streams import Stream
from autolabel.errors import SettingError


@dataclass(frozen=True)
class SampleSpec:
    """One training sample: which picture, and for a class-uniform draw the class that its crop must show."""

    index: int
    class_id: int | None = None
    tile: float = 0.0  # which tile that holds the class: where in their row, in [0, 1)


def class_centroid(label: np.ndarray, class_id: int, *, tile: int, which: float) -> tuple[int, int]:
    """Centroid (y, x) of a class in one of the `tile` x `tile` px tiles of a label (H, W) that hold it.

    `which` in [0, 1) chooses the tile, row by row. The centroid may fall outside a bent or split region; it is moved to
    the nearest pixel of its class in the tile, so that a crop around it really shows the class.
    """
    is_class = label == class_id
    height, width = label.shape
    tiles = [
        (top, left)
        for top in range(0, height, tile)
        for left in range(0, width, tile)
        if is_class[top : top + tile, left : left + tile].any()
    ]
    assert tiles, f"class {class_id} is counted in this label, and not there"
    top, left = tiles[int(which * len(tiles))]
    ys, xs = np.nonzero(is_class[top : top + tile, left : left + tile])
    nearest = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
    return top + int(ys[nearest]), left + int(xs[nearest])


@dataclass(frozen=True)
class SamplingPhase:
    """What some epochs in a row draw from."""

    epochs: int
    pictures: Sequence[int]  # drawn evenly
    images_by_class: tuple[np.ndarray, ...]  # drawn class-uniformly: for every class the pictures that hold it

    @cached_property
    def present(self) -> list[int]:
        """The classes that can be drawn."""
        return [class_id for class_id, pictures in enumerate(self.images_by_class) if len(pictures)]


@dataclass(frozen=True)
class EpochSampler:
    """Draws `epoch_images` items an epoch, from one part after the other; the last one goes on without end.

    The share that is not class-uniform walks through permutations of a part's pictures, one after the other and across
    epochs: after any number of epochs two pictures were drawn equally often, give or take one. Parts with the same
    pictures share a walk.
    """

    parts: tuple[SamplingPhase, ...]
    seed: int
    epoch_images: int
    class_uniform: float

    def items(self, epoch: int) -> list[SampleSpec]:
        number, begun = self._part_of(epoch)
        part = self.parts[number]
        num_plain = self._num_plain(part)
        rng = np.random.default_rng([self.seed, Stream.EPOCH, epoch])
        drawn = _class_items(rng, part, self.epoch_images - num_plain)
        start = self._walked(number) + (epoch - begun) * num_plain
        drawn += [SampleSpec(index) for index in self._walk(part.pictures, start, num_plain)]
        return [drawn[i] for i in rng.permutation(len(drawn))]

    def _part_of(self, epoch: int) -> tuple[int, int]:
        """The part that an epoch belongs to, and the epoch that this part begins with."""
        begun = 0
        for number, part in enumerate(self.parts[:-1]):
            if epoch < begun + part.epochs:
                return number, begun
            begun += part.epochs
        return len(self.parts) - 1, begun

    def _num_plain(self, part: SamplingPhase) -> int:
        return self.epoch_images - (round(self.class_uniform * self.epoch_images) if part.present else 0)

    def _walked(self, number: int) -> int:
        """How far parts before this one have come with its pictures."""
        mine = list(self.parts[number].pictures)
        return sum(part.epochs * self._num_plain(part) for part in self.parts[:number] if list(part.pictures) == mine)

    def _walk(self, pictures: Sequence[int], start: int, count: int) -> list[int]:
        """Pictures start .. start + count of the endless row of their permutations."""
        size = len(pictures)
        rounds = range(start // size, (start + count - 1) // size + 1)
        order = [np.random.default_rng([self.seed, Stream.PERMUTATION, i]).permutation(size) for i in rounds]
        offset = start - rounds.start * size
        return np.asarray(pictures)[np.concatenate(order)[offset : offset + count]].tolist() if count else []


def _class_items(rng: np.random.Generator, part: SamplingPhase, count: int) -> list[SampleSpec]:
    items = []
    for of_class, of_pictures, tile in rng.random((count, 3)).tolist():
        class_id = part.present[int(of_class * len(part.present))]
        images_by_class = part.images_by_class[class_id]
        items.append(SampleSpec(int(images_by_class[int(of_pictures * len(images_by_class))]), class_id, tile))
    return items


def check_phases(settings: TrainConfig, *, layers: Collection[str], names: Sequence[str]) -> None:
    """ConfigError where a phase has none of the `layers` that there are, or no class is named so."""
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
    """The phases of a training. `layers` has the label layer of each training image; `images_by_class` has, for each
    class, the images that hold it, or is empty. Raises ConfigError as `check_phases` does."""
    check_phases(settings, layers=set(layers), names=names)
    everything = PhaseConfig(layers=("fine", "auto", "coarse"), epochs=settings.epochs)
    phases = settings.phases or (everything,)
    given = sum(phase.epochs or 0 for phase in phases)
    return tuple(
        SamplingPhase(
            epochs=phase.epochs or settings.epochs - given,
            pictures=[index for index, layer in enumerate(layers) if layer in phase.layers],
            images_by_class=_drawable(
                images_by_class, layers, phase.uniform or phase.layers, settings.uniform_classes, names
            ),
        )
        for phase in phases
    )


def _drawable(
    images_by_class: tuple[np.ndarray, ...],
    layers: Sequence[str],
    wanted: Collection[str],
    chosen: Collection[str] | None,
    names: Sequence[str],
) -> tuple[np.ndarray, ...]:
    """Pictures with labels of the wanted layers; of a class that is not chosen only those with fine labels."""
    of_wanted = np.array([layer in wanted for layer in layers])
    of_fine = of_wanted & np.array([layer == "fine" for layer in layers])
    allowed = [of_wanted if chosen is None or name in chosen else of_fine for name in names]
    return tuple(
        pictures[mask[pictures]] for pictures, mask in zip(images_by_class, allowed, strict=bool(images_by_class))
    )
