"""The same labelling in three scopes, so that no speed-up comes from leaving work out.

compute   normalised images on the device -> probabilities (published) or codes (ours) on the device
copies    an 8-bit image in the host's memory -> a label map there
disk      a image's file -> a label's file
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _published_labelling as published
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from autolabel.data.decode import decode_image
from autolabel.inference.model import InferenceModel
from autolabel.labels import png
from autolabel.labels.shards import write_shard
from autolabel.models import SegmentationModel, normalise

THRESHOLD = 0.5


class Case(NamedTuple):
    """One image, and one network in both forms."""

    model: SegmentationModel  # (1, 3, H, W) on the device
    teacher: InferenceModel
    autocast: torch.autocast  # normalisation of both networks
    source: Path  # the image file
    target: Path  # the label file


class Side(NamedTuple):
    start: Callable[[Case], Callable[[], Any]]  # untimed preparation -> the timed function
    labels: Callable[[Case, Any], np.ndarray]  # its result as (H, W) uint8 train ids; untimed


def _published_compute(case: Case) -> Callable[[], Tensor]:
    images, scales = _images(case), case.teacher.scales
    return lambda: published.probabilities(case.model, images, scales, case.autocast)


def _our_compute(case: Case) -> Callable[[], Tensor]:
    images, teacher = _images(case), case.teacher

    @torch.inference_mode()
    def work() -> Tensor:
        return teacher.predictor.codes(images, teacher.book, teacher.scales, flip=False, autocast=case.autocast)

    return work


def _published_copies(case: Case) -> Callable[[], np.ndarray]:
    image, scales = _image(case), case.teacher.scales
    return lambda: published.label(case.model, image, scales, THRESHOLD, case.autocast)


def _our_copies(case: Case) -> Callable[[], np.ndarray]:
    image = torch.from_numpy(_image(case)[None])
    return lambda: _cut(case, case.teacher(image))


def _published_disk(case: Case) -> Callable[[], None]:
    def work() -> None:
        image = np.array(Image.open(case.source).convert("RGB"))
        labels = published.label(case.model, image, case.teacher.scales, THRESHOLD, case.autocast)
        Image.fromarray(labels).save(case.target)

    return work


def _our_disk(case: Case) -> Callable[[], None]:
    """Like the stages infer and label: codes into a shard, labels from the shard."""
    teacher = case.teacher

    def work() -> None:
        image = decode_image(case.source.read_bytes(), where=case.source, max_pixels=1 << 24)
        codes = teacher(torch.from_numpy(image[None]))[0].cpu().numpy()
        case.target.with_suffix(".h5").write_bytes(write_shard([(case.source.stem, codes)], teacher.book))
        case.target.write_bytes(png.encode(teacher.book.lut(THRESHOLD)[codes]))

    return work


def _images(case: Case) -> Tensor:
    card = case.teacher.card
    return normalise(torch.from_numpy(_image(case)[None]).to(case.teacher.device), card.mean, card.std)


def _image(case: Case) -> np.ndarray:
    return np.array(Image.open(case.source))


def _cut(case: Case, codes: Tensor) -> np.ndarray:
    return case.teacher.book.lut(THRESHOLD)[codes[0].cpu().numpy()]


def _as_it_is(case: Case, labels: np.ndarray) -> np.ndarray:
    return labels


def _read(case: Case, _: None) -> np.ndarray:
    return np.array(Image.open(case.target))


# scope -> the published side and ours
SCOPES = {
    "compute": (
        Side(_published_compute, lambda case, probabilities: published.labels_of(probabilities, THRESHOLD)),
        Side(_our_compute, _cut),
    ),
    "copies": (Side(_published_copies, _as_it_is), Side(_our_copies, _as_it_is)),
    "disk": (Side(_published_disk, _read), Side(_our_disk, _read)),
}
