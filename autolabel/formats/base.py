"""The types that pass between autolabel and a format: label maps with the names of their images, out and in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import IGNORE, ClassSet
from autolabel.classes.class_set import Colour
from autolabel.classes.palettes import default_palette
from autolabel.errors import DataError, LabelError

LabelMap = NDArray[np.uint8]  # (H, W) train ids, 255 = ignore
IGNORE_CLASS = "ignore"  # name of the class that stands for ignore where a format has none
FileItem = tuple[str, bytes]  # name with forward slashes, content


class ExportItem(NamedTuple):
    """One image with its label map.

    `name` is the path of the image below its folder, as the format states it; `stem` is the path of its files in the
    export, without a suffix; `image` is the image file, where the export holds it.
    """

    name: str
    stem: str
    labels: LabelMap
    image: bytes | None = None

    @property
    def image_file(self) -> str:
        return self.stem + PurePosixPath(self.name).suffix


@dataclass(frozen=True)
class ExportOptions:
    """`ignore_class`: in formats without ignore, ignore becomes a class of its own; otherwise it is left out."""

    classes: ClassSet
    split: str = "train"
    ignore_class: bool = False
    image_prefix: str = ""

    def class_rows(self) -> list[tuple[int, str, Colour]]:
        """(train id, name, colour) of each class that a format without ignore has. Raises DataError."""
        names = self.classes.names
        rows = list(zip(range(len(names)), names, distinct_palette(self.classes), strict=True))
        if self.ignore_class and IGNORE_CLASS in names:
            what = f"has a class named {IGNORE_CLASS!r} already"
            raise DataError("classes", what, "export with --ignore omit")
        return [*rows, (IGNORE, IGNORE_CLASS, (0, 0, 0))] if self.ignore_class else rows


class Writer(Protocol):
    """Files of a format, image by image; `finish` makes those that describe all of them."""

    def add(self, item: ExportItem) -> Iterator[FileItem]: ...

    def finish(self) -> Iterator[FileItem]: ...


@dataclass(frozen=True)
class ForeignImage:
    """An image as a file of another tool describes it. `draw` makes its label map, of the image's real size.

    Ids are positions in the class list that came with it. `draw` raises LabelError.
    """

    name: str
    size: tuple[int, int] | None  # height and width, where stated
    where: str  # file and place, for errors
    draw: Callable[[int, int], LabelMap]
    author: str = ""  # of the annotation, where stated
    time: str = ""
    image: Callable[[], bytes] | None = None  # the image file, where the format holds it


@dataclass(frozen=True)
class ForeignLabels:
    """Everything that was read. `notes` counts what defines no region, such as points and tags, and, once all is
    drawn, regions without a pixel."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...] | None
    images: Sequence[ForeignImage]
    notes: Counter[str] = field(default_factory=Counter)
    unused: tuple[str, ...] = ()  # classes that count only if a pixel has them
    names_are_typed: bool = False  # region by region, so two spellings may mean one class


@dataclass(frozen=True)
class ImportOptions:
    """`table`: the classes, for formats without a list. `crossing`: how to fill a polygon that crosses itself.

    `notes` counts what was left out, while the file is read and while its images are drawn.
    """

    table: ClassSet | None = None
    crossing: str = ""
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def names(self) -> tuple[str, ...]:
        return () if self.table is None else self.table.names


Reader = Callable[[Path, ImportOptions], ForeignLabels]


def image_items(item: ExportItem, folder: str) -> Iterator[FileItem]:
    """The image itself, where the export holds images."""
    if item.image is not None:
        yield f"{folder}/{item.image_file}", item.image


def distinct_palette(classes: ClassSet, taken: Sequence[Colour] = ()) -> tuple[Colour, ...]:
    """The colours of the classes, or the palette of VOC if two are equal or one is taken."""
    colours = [*classes.palette, *taken]
    return classes.palette if len(set(colours)) == len(colours) else default_palette(classes.num_classes)


def check_names(names: Sequence[Any], where: object) -> tuple[str, ...]:
    """The class names of a file. Raises LabelError if one is empty or twice there, or there are more than 255."""
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise LabelError(where, f"class name {name!r} is no text", "name every class")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise LabelError(where, f"names the class {twice!r} twice", "rename one of them")
    if len(names) > IGNORE:
        raise LabelError(where, f"has {len(names)} classes", f"at most {IGNORE} are possible: merge or drop some")
    return tuple(names)


def first_of(problems: Sequence[str], shown: int = 3) -> str:
    """Problems on one line: the first few, and the number of the others."""
    more = f" | and {len(problems) - shown} more" if len(problems) > shown else ""
    return " | ".join(problems[:shown]) + more
