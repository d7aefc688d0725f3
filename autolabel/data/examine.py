"""Open the files of one planned image, judge them, and describe them as manifest rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autolabel.classes import IGNORE, ClassSet
from autolabel.data.decode import decode_image, decode_label
from autolabel.data.plan import PlannedImage, PlannedLabel
from autolabel.data.rows import ImageRow, LabelRow
from autolabel.errors import LabelError
from autolabel.store.digest import sha256_bytes


@dataclass(frozen=True)
class Rules:
    """What every file of a source is judged by, and what its rows have in common."""

    classes: ClassSet
    root: str  # name of the root in the rows
    provenance: str
    max_pixels: int


def examine(image: PlannedImage, read: Callable[[str], bytes], rules: Rules) -> tuple[ImageRow, tuple[LabelRow, ...]]:
    """Read each file once, decode it, and count. Raises DataError for anything that training could not use."""
    data = read(image.path)
    height, width, _ = decode_image(data, where=image.path, max_pixels=rules.max_pixels).shape
    row = ImageRow(
        id=image.id,
        split=image.split,
        group=image.group,
        root=rules.root,
        path=image.path,
        sha256=sha256_bytes(data),
        bytes=len(data),
        width=width,
        height=height,
    )
    return row, tuple(_label_row(row, label, read(label.path), rules) for label in image.labels)


def _label_row(image: ImageRow, label: PlannedLabel, data: bytes, rules: Rules) -> LabelRow:
    train_ids = decode_label(
        data, where=label.path, classes=rules.classes, encoding=label.encoding, max_pixels=rules.max_pixels
    )
    height, width = train_ids.shape
    if (width, height) != (image.width, image.height):
        what = f"is {width} x {height}, its image {image.path} is {image.width} x {image.height}"
        raise LabelError(label.path, what, "label maps must have the size of their image")
    counts = np.bincount(train_ids.ravel(), minlength=256)
    return LabelRow(
        image_id=image.id,
        role=label.role,
        encoding=label.encoding,
        root=rules.root,
        path=label.path,
        sha256=sha256_bytes(data),
        bytes=len(data),
        counts=(*counts[: rules.classes.num_classes].tolist(), int(counts[IGNORE])),
        provenance=rules.provenance,
    )
