"""Corrections: the pixels of a label set that people have changed, with who changed them.

corrections.json     classes, digest of the label set, source file, and a row per corrected image
masks/NAME.png       train ids where a pixel is corrected, 255 = set to ignore; 254 = not corrected
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from autolabel.classes import IGNORE
from autolabel.data.schema import unsafe_path
from autolabel.errors import DataError, LabelError
from autolabel.formats.base import FileItem, LabelMap
from autolabel.labels import png
from autolabel.store import mirror_names, sha256_bytes
from autolabel.user_files import read_user_file

FILE = "corrections.json"
UNCHANGED = 254
_REMEDY = "give a folder that `autolabel corrections import` wrote"
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_MaybeDigest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class CorrectedImage(BaseModel, extra="forbid", strict=True, frozen=True):
    id: str
    path: str  # below the folder
    sha256: _Digest
    pixels: int  # corrected ones
    author: str
    time: str
    image_sha256: _MaybeDigest = ""  # of the image that people saw; "" where the label set does not know it


class Document(BaseModel, extra="forbid", strict=True, frozen=True):
    format: Literal["autolabel corrections"] = "autolabel corrections"
    format_version: Literal[1] = 1
    classes: list[str]
    labels: str  # digest of the label set
    source: dict[str, str]  # format, file name and sha256 of what was imported
    images: list[CorrectedImage]


@dataclass(frozen=True)
class Correction:
    """The corrected map (H, W) of one image, UNCHANGED where it is as before."""

    image_id: str
    labels: LabelMap
    author: str
    time: str
    image_sha256: str = ""  # of the image, where it is known

    @property
    def pixels(self) -> int:
        return int(np.count_nonzero(self.labels != UNCHANGED))


def corrected(before: LabelMap, after: LabelMap, *, keep_uncovered: bool) -> LabelMap:
    """The pixels that differ. With `keep_uncovered`, ignore in `after` changes nothing."""
    changed = after != before
    if keep_uncovered:
        changed &= after != IGNORE
    return np.where(changed, after, UNCHANGED).astype(np.uint8)


def apply(base: LabelMap | None, labels: LabelMap) -> LabelMap:
    """The label map with corrections on top; without a base, pixels that are not corrected are ignore."""
    below = np.full_like(labels, IGNORE) if base is None else base
    return np.where(labels == UNCHANGED, below, labels)


def corrections_files(
    corrections: Sequence[Correction], classes: Sequence[str], digest: str, source: Mapping[str, str]
) -> list[FileItem]:
    """All files of a folder of corrections."""
    names = mirror_names({row.image_id: row.image_id for row in corrections}, ".png")
    masks = {row.image_id: png.encode(row.labels) for row in corrections}
    images = [
        CorrectedImage(
            id=row.image_id,
            path=f"masks/{names[row.image_id]}",
            sha256=sha256_bytes(masks[row.image_id]),
            pixels=row.pixels,
            author=row.author,
            time=row.time,
            image_sha256=row.image_sha256,
        )
        for row in corrections
    ]
    document = Document(classes=list(classes), labels=digest, source=dict(source), images=images)
    files = [(image.path, masks[image.id]) for image in images]
    return [*files, (FILE, json.dumps(document.model_dump(), indent=1, sort_keys=True).encode())]


def read_document(folder: Path) -> Document:
    """The index of a folder of corrections. Raises DataError."""
    data = read_user_file(folder / FILE, DataError, _REMEDY, at_most=1_000_000_000)
    try:
        document = Document.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(folder / FILE, f"is no index of corrections: {place}: {first['msg']}", _REMEDY) from error
    seen: set[str] = set()
    for image in document.images:
        unsafe = unsafe_path(image.path)
        if unsafe is not None or image.id in seen:
            raise DataError(folder / FILE, f"image {image.id!r}: {unsafe or 'stands in it twice'}", "import them again")
        seen.add(image.id)
    return document


def check_classes(document: Document, names: Sequence[str], where: Any) -> None:
    """Raises DataError unless the corrections are of these classes, in this order."""
    if document.classes != list(names):
        what = f"is of the classes {', '.join(document.classes[:5])}, the data of {', '.join(names[:5])}"
        raise DataError(where, what, "import the corrections of this experiment's labels")


def read_mask(folder: Path, image: CorrectedImage, num_classes: int) -> LabelMap:
    """The map of one image, its bytes checked. Raises DataError."""
    file = folder / image.path
    data = read_user_file(file, DataError, "import the corrections again")
    if sha256_bytes(data) != image.sha256:
        raise DataError(file, "has changed since it was imported", "import the corrections again")
    labels = png.decode(data, where=file, max_pixels=256_000_000)
    values = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    odd = [int(value) for value in values if num_classes <= value < UNCHANGED]
    if odd:
        raise LabelError(file, f"holds {odd[0]}, which is no class", "import the corrections again")
    return labels
