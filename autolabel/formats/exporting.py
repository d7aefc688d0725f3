"""A label set as files of a format, with a data card and Croissant metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import IGNORE
from autolabel.data.decode import image_size, naming_limit
from autolabel.data.sources.base import raise_if_any
from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem, require_folder
from autolabel.errors import ConfigError, DataError, LabelError
from autolabel.formats.base import ExportItem, ExportOptions, FileItem
from autolabel.formats.label_sets import MAX_PIXELS, LabelSet, LabelSetItem
from autolabel.formats.registry import FORMATS
from autolabel.store import mirror_names, sha256_bytes
from autolabel.user_files import read_user_file


@dataclass(frozen=True)
class ExportFile:
    name: str
    bytes: int
    sha256: str


@dataclass
class ExportSummary:
    """Grows while the files are made. `counts`: pixels of each train id, at 255 those of ignore."""

    images: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    files: list[ExportFile] = field(default_factory=list)

    @property
    def pixels(self) -> int:
        return int(self.counts.sum())

    @property
    def ignored(self) -> float:
        """Fraction of the pixels."""
        return int(self.counts[IGNORE]) / max(self.pixels, 1)


@dataclass(frozen=True)
class _Planned:
    item: LabelSetItem
    name: str
    stem: str
    image: Path | None


def plan(labels: LabelSet, format: str, images: Path | None, *, copy: bool) -> list[_Planned]:
    """The names of all files, and the image of each label where a folder of images is known; nothing is opened.

    Raises DataError and ConfigError.
    """
    if not labels.items:
        raise DataError(labels.where, "holds no label", "label some images first")
    holds = FORMATS[format].holds_images or copy
    if images is None and holds:
        raise ConfigError("--images", f"is missing: {format} needs the images", "name the folder of the images")
    found = {} if images is None else _find(labels, require_folder(images, "name the folder of the images"))
    names = {item.id: found.get(item.id, item.image) for item in labels.items}
    unknown = [name for name in names.values() if not name.lower().endswith(IMAGE_SUFFIXES)]
    if FORMATS[format].names_images:
        what = f"does not know the image files that {format} names"
        raise_if_any(unknown, labels.where, what, "name the folder of the images with --images")
    stems = mirror_names({id_: _without_suffix(name) for id_, name in names.items()}, ".png")
    planned = []
    for item in labels.items:
        name, stem = names[item.id], stems[item.id].removesuffix(".png")
        planned.append(_Planned(item, name, stem, images / name if images is not None and holds else None))
    return planned


def _find(labels: LabelSet, folder: Path) -> dict[str, str]:
    """Id -> path below the folder. Raises DataError for labels without an image."""
    files = by_stem(folder, IMAGE_SUFFIXES)
    found = {}
    for item in labels.items:
        stems = (item.id, _without_suffix(item.image), _without_suffix(item.id))
        path = next((files[stem] for stem in stems if stem in files), None)
        if path is not None:
            found[item.id] = path
    missing = [item.id for item in labels.items if item.id not in found]
    raise_if_any(missing, folder, "labels without an image there", "name the folder that the image names start from")
    return found


def _without_suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else name


def export_files(
    planned: Sequence[_Planned],
    format: str,
    options: ExportOptions,
    summary: ExportSummary,
    done: Callable[[], None] = lambda: None,
) -> Iterator[FileItem]:
    """All files of the format, image by image. Raises DataError."""
    writer_type = FORMATS[format].writer
    assert writer_type is not None
    writer = writer_type(options)
    for entry in planned:
        labels = entry.item.read()
        image = None if entry.image is None else _image(entry.image, labels.shape, entry.item.image_sha256)
        name = entry.name if image is None else entry.stem + PurePosixPath(entry.name).suffix
        summary.images += 1
        summary.counts += np.bincount(labels.ravel(), minlength=256)
        yield from _noted(writer.add(ExportItem(name, entry.stem, labels, image)), summary)
        done()
    yield from _noted(writer.finish(), summary)


def _image(file: Path, shape: tuple[int, ...], sha256: str) -> bytes:
    """The bytes of an image of this height and width, and of this digest where it is known. Raises DataError."""
    data = read_user_file(file, DataError)
    with naming_limit(""):
        width, height = image_size(data, where=file, max_pixels=MAX_PIXELS)
    if (height, width) != shape:
        what = f"is {width} x {height}, its label is {shape[1]} x {shape[0]}"
        raise LabelError(file, what, "name the images that were labelled")
    if sha256 and sha256_bytes(data) != sha256:  # another image of the same name and size would get its labels
        raise DataError(file, "is not the image that was labelled", "name the images that were labelled, or run again")
    return data


def _noted(files: Iterator[FileItem], summary: ExportSummary) -> Iterator[FileItem]:
    for name, data in files:
        summary.files.append(ExportFile(name, len(data), sha256_bytes(data)))
        yield name, data


def statistics(labels: LabelSet, summary: ExportSummary, lost: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """A row per class: its name, pixels, fraction of all pixels, and fraction that ended as ignore where known."""
    return [
        {
            "name": name,
            "pixels": int(summary.counts[train_id]),
            "fraction": int(summary.counts[train_id]) / max(summary.pixels, 1),
            "ignored": lost.get(name),
        }
        for train_id, name in enumerate(labels.classes.names)
    ]
