"""The same labelling within three bounds, so that no speed-up hides in what it leaves out.

compute   normalised images on the device -> probabilities (published) or codes (ours) on the device
copies    an 8-bit picture in the host's memory -> a label map there
disk      a picture's file -> a label's file
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
    """One picture, and one network in both forms."""

    model: SegmentationModel  # as torch lays it out, on the device
    teacher: InferenceModel
    autocast: torch.autocast  # of both networks
    source: Path  # the picture's file
    target: Path  # the label's file


class Side(NamedTuple):
    start: Callable[[Case], Callable[[], Any]]  # what is not timed -> what is
    labels: Callable[[Case, Any], np.ndarray]  # of what that gives: (H, W) uint8 train ids; not timed


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
    picture, scales = _picture(case), case.teacher.scales
    return lambda: published.label(case.model, picture, scales, THRESHOLD, case.autocast)


def _our_copies(case: Case) -> Callable[[], np.ndarray]:
    picture = torch.from_numpy(_picture(case)[None])
    return lambda: _cut(case, case.teacher(picture))


def _published_disk(case: Case) -> Callable[[], None]:
    def work() -> None:
        picture = np.array(Image.open(case.source).convert("RGB"))
        labels = published.label(case.model, picture, case.teacher.scales, THRESHOLD, case.autocast)
        Image.fromarray(labels).save(case.target)

    return work


def _our_disk(case: Case) -> Callable[[], None]:
    """As the stages infer and label do it: codes into a shard, labels cut from them."""
    teacher = case.teacher

    def work() -> None:
        picture = decode_image(case.source.read_bytes(), where=case.source, max_pixels=1 << 24)
        codes = teacher(torch.from_numpy(picture[None]))[0].cpu().numpy()
        case.target.with_suffix(".h5").write_bytes(write_shard([(case.source.stem, codes)], teacher.book))
        case.target.write_bytes(png.encode(teacher.book.lut(THRESHOLD)[codes]))

    return work


def _images(case: Case) -> Tensor:
    card = case.teacher.card
    return normalise(torch.from_numpy(_picture(case)[None]).to(case.teacher.device), card.mean, card.std)


def _picture(case: Case) -> np.ndarray:
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
