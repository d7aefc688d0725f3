"""The data set of augmented crops.

The key of a sample is its number k in the order of the whole training: epoch k // epoch_images, position
k % epoch_images. Crop, jitter, and the part of another sample that is pasted on are functions of (seed, epoch,
position) alone, so batches do not depend on the number of loader processes, and a resumed run only has to start
counting at the right k.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from autolabel.config import Augment
from autolabel.data.augment import augment
from autolabel.data.mixing import draw_mix
from autolabel.data.pairs import Pair, Pairs
from autolabel.data.sampling import EpochSampler, Item
from autolabel.errors import AutolabelError

_AUGMENT, _MIX = 3, 5  # streams of random numbers, beside those of sampling.py and training/trainer.py


@dataclass
class CropSet(Dataset):
    """Augmented crops by their number in the training: image (h, w, 3) uint8 and label (h, w) uint8 tensors."""

    pairs: Pairs
    sampler: EpochSampler
    augment: Augment
    crop: tuple[int, int]
    fill: tuple[int, int, int]

    def __post_init__(self) -> None:
        self._epoch, self._items = -1, self.sampler.items(0)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, position = divmod(number, self.sampler.epoch_images)
        if epoch != self._epoch:
            self._epoch, self._items = epoch, self.sampler.items(epoch)
        view = self._view(self._items[position], np.random.default_rng([self.sampler.seed, _AUGMENT, epoch, position]))
        self._mix(view, np.random.default_rng([self.sampler.seed, _MIX, epoch, position]))
        image, label = view
        return torch.from_numpy(image), torch.from_numpy(label)

    def _view(self, item: Item, rng: np.random.Generator) -> Pair:
        image, label = self.pairs[item.index]
        return augment(image, label, settings=self.augment, crop=self.crop, centre=item.centre, rng=rng, fill=self.fill)

    def _mix(self, view: Pair, rng: np.random.Generator) -> None:
        """Paste a part of another sample of the epoch, cropped anew: not of the batch, which is shared and split."""
        mix = draw_mix(self.augment, rng)
        if mix is None:
            return
        pasted = self._view(self._items[int(rng.integers(len(self._items)))], rng)
        mask = mix(pasted[1], rng)
        for below, above in zip(view, pasted, strict=True):
            below[mask] = above[mask]


class _Caught(Dataset):
    """Hands our own errors over as values: a loader process would turn them into a page of traceback."""

    def __init__(self, inner: Dataset) -> None:
        self.inner = inner

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor] | AutolabelError:
        try:
            return self.inner[number]
        except AutolabelError as error:
            return error


Batch = tuple[torch.Tensor, torch.Tensor]  # (B, h, w, 3) and (B, h, w), uint8


def batches(
    crops: CropSet, *, start: int, stop: int, step: int = 1, batch: int, workers: int, pin: bool = False
) -> Generator[Batch]:
    """Every `step`-th sample of start .. stop in batches of `batch`; closing it ends its `workers` processes (0: no
    process)."""
    loader = DataLoader(
        _Caught(crops),
        batch_size=batch,
        sampler=range(start, stop, step),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin,
        worker_init_fn=_heed_only_the_trainer,
        generator=torch.Generator(),  # the loader's own seed must not be drawn from the global generator
    )
    for samples in loader:
        if isinstance(samples, AutolabelError):
            raise samples
        yield samples


@contextmanager
def one_line_loader_errors() -> Iterator[None]:
    """A lost loader process as an AutolabelError. torch reports it from a signal handler: anywhere in this block."""
    try:
        yield
    except (RuntimeError, ConnectionResetError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
            raise
        reason = str(error).splitlines()[0]
        remedy = "continue with a smaller runtime.workers if memory ran out"
        raise AutolabelError("loader", f"lost a process ({reason})", remedy) from error


def _collate(samples: list) -> Batch | AutolabelError:
    for sample in samples:
        if isinstance(sample, AutolabelError):
            return sample
    images, labels = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(labels)


def _heed_only_the_trainer(worker: int) -> None:
    """A signal to the whole process group is for the trainer, which ends its loaders after its last checkpoint.

    SIGINT is ignored; SIGTERM ends this process only where the trainer sent it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_when_told, args=(os.getppid(),), daemon=True).start()


def _end_when_told(trainer: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
