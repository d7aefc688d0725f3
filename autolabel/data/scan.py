"""Scan one image and its labels: open each file once, check it, count its pixels, and say what its masks hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import IGNORE, ClassSet
from autolabel.data.decode import TurnedImage, decode_turned, label_ids, label_tables, refuse_values
from autolabel.data.masks import (
    Histogram,
    MaskPixels,
    Values,
    align,
    histogram,
    look_up,
    num_smoothed,
    read_mask,
    show_value,
)
from autolabel.data.near_duplicates import thumbnail
from autolabel.data.schema import ImageRow, LabelRow
from autolabel.data.sources.base import MaskRules, SourceImage, SourceLabel
from autolabel.errors import DataError
from autolabel.labels import png
from autolabel.store.files import sha256_bytes

_MOST = 300  # values of a mask that its facts list


@dataclass(frozen=True)
class ScanRules:
    """The rules that every file of a source is checked by, and the values that its rows have in common."""

    classes: ClassSet
    root: str  # name of the root in the rows
    provenance: str
    max_pixels: int
    masks: MaskRules | None = None  # None: masks are label PNGs of `classes`
    mask_orientation: str | None = None


class _File(NamedTuple):
    """The file that holds a label: the user's, or one that the manifest artefact gets."""

    path: str
    root: str
    encoding: str
    data: bytes


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """The content of a mask, whether it can be used or not. `values` are the most frequent ones."""

    path: str
    role: str
    split: str
    values: tuple[int, ...]
    pixels: tuple[int, ...]
    num_smoothed: int  # values that only stand between a lower and a higher neighbour
    size: tuple[int, int]  # height and width
    image_size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ScannedImage:
    """The rows of an image, or the reason why there are none, and what its files hold.

    `cause` is the reason without names and numbers: it is equal for faults of one kind. `files` are the masks that were
    converted, by their names in the manifest artefact.
    """

    rows: tuple[ImageRow, tuple[LabelRow, ...]] | None
    reason: str = ""
    cause: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    masks: tuple[MaskFacts, ...] = ()
    thumbnail: bytes = b""


def scan_image(image: SourceImage, read: Callable[[str], bytes], rules: ScanRules, name: str) -> ScannedImage:
    """Read and check each file of an image once. `name` is the file name that its converted masks get."""
    facts: list[MaskFacts] = []
    labels: list[LabelRow] = []
    files: dict[str, bytes] = {}
    small = b""
    try:
        data = read(image.path)
        decoded = decode_turned(data, where=image.path, max_pixels=rules.max_pixels)
        small = thumbnail(decoded.pixels)
        for label in image.labels:
            source = read(label.path)
            mask = _read(label, source, rules)
            found = histogram(mask.values)
            if label.encoding in ("ids", "palette_ids"):  # other labels state their values themselves
                facts.append(_facts(image, label, mask.values, found, decoded))
            train_ids = _train_ids(image, label, mask, found, decoded, rules)
            if mask.encoding is not None and _in_place(label, decoded, rules):
                file = _File(label.path, rules.root, mask.encoding, source)
            else:
                file = _File(f"{label.role}/{name}", "data", "train_ids", png.encode(train_ids))
                files[file.path] = file.data
            labels.append(_label_row(image, label, file, train_ids, rules))
    except DataError as error:
        return ScannedImage(None, str(error), cause_of(error), masks=tuple(facts), thumbnail=small)
    return ScannedImage((_image_row(image, data, decoded, rules), tuple(labels)), "", "", files, tuple(facts), small)


def cause_of(error: DataError) -> str:
    """The text of an error without names and numbers."""
    return re.sub(r"its image .* (is|has)|'[^']*'|\d+(\.\d+)?", "*", error.what)[:60]


def _read(label: SourceLabel, data: bytes, rules: ScanRules) -> MaskPixels:
    if rules.masks is not None and label.encoding == "ids":
        return read_mask(data, where=label.path, max_pixels=rules.max_pixels, values=rules.masks.values)
    ids = label_ids(data, where=label.path, encoding=label.encoding, max_pixels=rules.max_pixels)
    return MaskPixels(ids, 1, label.encoding)


def _train_ids(
    image: SourceImage, label: SourceLabel, mask: MaskPixels, found: Histogram, decoded: TurnedImage, rules: ScanRules
) -> NDArray[np.uint8]:
    """(H, W) train ids on the pixels of the image. Raises LabelError."""
    table = _table(label, rules)
    unknown = np.array([value for value in found.values.tolist() if value not in table])
    if unknown.size:
        values = "ids" if rules.masks is None else rules.masks.values
        refuse_values(unknown, mask.values, label.path, rules.classes.name, partial(show_value, values=values))
    aligned = align(mask, decoded, rules.mask_orientation, where=label.path, image_name=image.path)
    return look_up(aligned, found.values, table)


def _in_place(label: SourceLabel, image: TurnedImage, rules: ScanRules) -> bool:
    """Whether the readers of a manifest get the train ids from the mask file itself, so that it need not be copied."""
    return image.orientation == 1 and (rules.masks is None or rules.masks.in_place or label.encoding != "ids")


def mask_table(classes: ClassSet, rules: MaskRules | None) -> Mapping[int, int]:
    """The train id of each value in masks, 255 for "no class"."""
    if rules is not None:
        return rules.table
    return dict(zip(classes.ids, range(classes.num_classes), strict=True)) | dict.fromkeys(classes.ignored_ids, IGNORE)


def _table(label: SourceLabel, rules: ScanRules) -> Mapping[int, int]:
    if label.encoding == "ids":
        return mask_table(rules.classes, rules.masks)
    legal, to_train = label_tables(rules.classes, label.encoding)
    return {int(value): int(to_train[value]) for value in np.flatnonzero(legal)}


def _facts(image: SourceImage, label: SourceLabel, values: Values, found: Histogram, decoded: TurnedImage) -> MaskFacts:
    order = np.argsort(-found.pixels, kind="stable")[:_MOST]
    height, width = decoded.pixels.shape[:2]
    return MaskFacts(
        path=label.path,
        role=label.role,
        split=image.split,
        values=tuple(found.values[order].tolist()),
        pixels=tuple(found.pixels[order].tolist()),
        num_smoothed=num_smoothed(values, found),
        size=(values.shape[0], values.shape[1]),
        image_size=(height, width),
    )


def _image_row(image: SourceImage, data: bytes, decoded: TurnedImage, rules: ScanRules) -> ImageRow:
    height, width, _ = decoded.pixels.shape
    return ImageRow(
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


def _label_row(
    image: SourceImage,
    label: SourceLabel,
    file: _File,
    train_ids: NDArray[np.uint8],
    rules: ScanRules,
) -> LabelRow:
    counts = np.bincount(train_ids.ravel(), minlength=256)
    return LabelRow(
        image_id=image.id,
        role=label.role,
        encoding=file.encoding,
        root=file.root,
        path=file.path,
        sha256=sha256_bytes(file.data),
        bytes=len(file.data),
        counts=(*counts[: rules.classes.num_classes].tolist(), int(counts[IGNORE])),
        provenance=rules.provenance,
    )
