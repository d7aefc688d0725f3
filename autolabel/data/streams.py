"""Independent streams of random numbers in a training: none depends on how much another has drawn."""

from __future__ import annotations

from enum import IntEnum


class Stream(IntEnum):
    """The number after a run's seed in a key of numpy's SeedSequence, e.g. [seed, Stream.AUGMENT, epoch, position].

    Never change a number: a training with the same seed would then draw other samples.
    """

    PERMUTATION = 1  # order of the images that an epoch draws evenly
    EPOCH = 2  # class-uniform draws and the order of an epoch
    AUGMENT = 3  # crop and jitter of a sample
    STEP = 4  # torch's generators in a training step: dropout
    MIX = 5  # CutMix and ClassMix of a sample
    STRONG = 6  # strong changes of a sample
