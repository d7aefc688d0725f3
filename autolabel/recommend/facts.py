"""Facts about the data and the machine that a choice of settings rests on."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from autolabel.data.build import ScanResult
from autolabel.data.sources.base import SourceImage, SourceListing
from autolabel.errors import DataError
from autolabel.hardware import resolve_device, usable_cores
from autolabel.user_files import read_user_file

NUM_SAMPLES = 64  # images whose size is read, spread evenly over the data


@dataclass(frozen=True)
class DataFacts:
    """A data set in figures; sizes are in pixels."""

    class_names: tuple[str, ...]
    size: tuple[int, int]  # median height and width
    num_fine: int  # training images with fine labels
    num_coarse: int  # training images with coarse labels only
    num_unlabelled: int  # training images without fine and coarse labels
    num_val: int
    frequencies: tuple[float, ...]  # of the classes in the fine masks that were counted; they sum to 1, or all are 0

    @property
    def num_to_label(self) -> int:
        return self.num_coarse + self.num_unlabelled

    @property
    def unseen(self) -> tuple[str, ...]:
        """Classes without a pixel in the fine masks that were counted."""
        return tuple(n for n, f in zip(self.class_names, self.frequencies, strict=True) if f == 0)


@dataclass(frozen=True)
class MachineFacts:
    device: str  # "cpu" or "cuda"
    cores: int
    gpu_bytes: int = 0
    may_gain_from_bf16: bool = False  # a CPU with instructions for it: a training may be faster, which timing tells


def machine_facts() -> MachineFacts:
    import torch

    from autolabel.inference.precision import has_fast_bf16

    device = resolve_device("auto")
    gpu_bytes = torch.cuda.get_device_properties(0).total_memory if device == "cuda" else 0
    return MachineFacts(device, usable_cores(), gpu_bytes, device == "cpu" and has_fast_bf16(torch.device(device)))


def data_facts(seen: ScanResult) -> DataFacts:
    """The facts about a source of which some images and masks were opened. Raises DataError if no image can be read."""
    listing = seen.listing
    train = [image for image in listing.images if image.split == "train"]
    roles = [{label.role for label in image.labels} for image in train]
    return DataFacts(
        class_names=listing.classes.names,
        size=_median_size(listing),
        num_fine=sum("fine" in of for of in roles),
        num_coarse=sum("coarse" in of and "fine" not in of for of in roles),
        num_unlabelled=sum(not of & {"fine", "coarse"} for of in roles),
        num_val=sum(image.split == "val" for image in listing.images),
        frequencies=_frequencies(seen),
    )


def _spread(items: Sequence[SourceImage]) -> list[SourceImage]:
    """At most NUM_SAMPLES of them, at even distances."""
    count = min(len(items), NUM_SAMPLES)
    return [items[i * len(items) // count] for i in range(count)]


def _median_size(listing: SourceListing) -> tuple[int, int]:
    """Median height and width, from the headers of the images."""
    sizes = []
    for image in _spread(listing.images):
        try:
            data = read_user_file(listing.root / image.path, DataError)
            with Image.open(io.BytesIO(data)) as opened:
                sizes.append(opened.size)
        except (DataError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # the manifest stage names it
    if not sizes:
        raise DataError(listing.root, "none of its images can be read", "check that they are images")
    return round(statistics.median(h for _, h in sizes)), round(statistics.median(w for w, _ in sizes))


def _frequencies(seen: ScanResult) -> tuple[float, ...]:
    """Fractions of the classes in the fine masks of training images."""
    counts = np.zeros(seen.listing.classes.num_classes)
    train = {image.id for image in seen.images if image.split == "train"}
    for label in seen.labels:
        if label.image_id in train and label.role == "fine":
            counts += label.counts[:-1]
    total = counts.sum()
    return tuple((counts / total if total else counts).tolist())
