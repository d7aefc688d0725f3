"""Labels of another tool as a tree of the source `folder`: masks, a class file, and the images."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import IGNORE
from autolabel.classes.palettes import default_palette
from autolabel.data.decode import image_size, naming_limit
from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem
from autolabel.errors import DataError, LabelError
from autolabel.formats.base import IGNORE_CLASS, FileItem, ForeignImage, ForeignLabels, LabelMap, first_of
from autolabel.formats.label_sets import MAX_PIXELS
from autolabel.labels import png
from autolabel.store import mirror_names
from autolabel.user_files import read_user_file


class Target(NamedTuple):
    """The image that a foreign image names: its path below the image folder, and its bytes."""

    path: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class ClassTable:
    """The classes of the import: `values` (256,) maps a position in the foreign list to the value in the masks."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    palette: Sequence[Sequence[int]]
    values: NDArray[np.uint8]
    background: int | None = None  # value of pixels without an annotation, in place of ignore


@dataclass
class ImportSummary:
    images: int = 0
    names: tuple[str, ...] = ()  # of the classes
    bad: list[str] = field(default_factory=list)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))


Pairs = list[tuple[ForeignImage, Target]]


def match(foreign: Sequence[ForeignImage], folder: Path | None, *, skip_missing: bool) -> Pairs:
    """Each foreign image with its image: by path, else by a file name that occurs once, with or without suffix.

    Raises DataError if images are missing, or if two entries name the same one.
    """
    pairs = _embedded_pairs(foreign) if folder is None else _pairs(foreign, folder, skip_missing)
    twice = {path: count for path, count in Counter(target.path for _, target in pairs).items() if count > 1}
    if twice:
        path = next(iter(twice))
        places = [image.where for image, target in pairs if target.path == path]
        more = f" (and {len(twice) - 1} more images)" if len(twice) > 1 else ""
        raise DataError(places[1], f"claims the image {path!r}, as does {places[0]}{more}", "keep one of them")
    return pairs


def _embedded_pairs(foreign: Sequence[ForeignImage]) -> Pairs:
    return [(image, Target(_safe(image), _embedded(image))) for image in foreign]


def _pairs(foreign: Sequence[ForeignImage], folder: Path, skip_missing: bool) -> Pairs:
    index = ImageIndex(by_stem(folder, IMAGE_SUFFIXES))
    pairs, missing = [], []
    for image in foreign:
        path = index.find(image.name, image.where)
        if path is None:
            missing.append(f"{image.where}: {image.name!r}")
        else:
            pairs.append((image, Target(path, partial(read_user_file, folder / path, DataError))))
    if missing and not skip_missing:
        what = f"images that are not there: {len(missing)}: {first_of(missing)}"
        raise DataError(folder, what, "name the folder of the images, or leave them out with --skip-missing")
    return pairs


_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # Label Studio puts this before the name of an uploaded file


class ImageIndex:
    """Paths of images by all names that a tool may use for them."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._stems = dict(files)
        self._paths = {path: path for path in files.values()}
        self._names: dict[str, list[str]] = {}
        self._uploads: dict[str, list[str]] = {}
        for stem, path in files.items():
            for name in {PurePosixPath(path).name, PurePosixPath(stem).name}:
                self._names.setdefault(name, []).append(path)

    def find(self, name: str, where: str) -> str | None:
        name = name.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):  # a tool may put folders of its own before the path
            path = "/".join(parts[start:])
            found = self._paths.get(path) or self._stems.get(path)
            if found is not None:
                return found
        if not parts:
            return None
        last, uploaded = parts[-1], _UPLOADED.fullmatch(parts[-1])
        for found_names in (self._names.get(last, []), self._of_uploaded(uploaded[1]) if uploaded else []):
            if len(found_names) > 1:
                what = f"{name!r} fits {len(found_names)} images: {', '.join(found_names[:3])}"
                raise DataError(where, what, "keep the folders of the images in their names")
            if found_names:
                return found_names[0]
        return None

    def _of_uploaded(self, name: str) -> list[str]:
        """Images of this name, else those that an upload names so."""
        if not self._uploads:
            for own, paths in self._names.items():
                self._uploads.setdefault(_uploaded(own), []).extend(paths)
        return self._names.get(name) or self._uploads.get(name, [])


def _uploaded(name: str) -> str:
    """The name that Label Studio (Django's `get_valid_filename`) makes of a file's."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _safe(image: ForeignImage) -> str:
    parts = [part for part in image.name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "image"


def _embedded(image: ForeignImage) -> Callable[[], bytes]:
    if image.image is None:
        raise DataError(image.where, "does not hold its image", "name the folder of the images with --images")
    return image.image


def class_table(
    foreign: ForeignLabels, *, ignore: str | None, renames: Mapping[str, str], background: str | None, where: object
) -> ClassTable:
    """Names, ids and values of the masks. A class renamed to "" becomes ignore; two of one name are merged.

    Raises DataError for names that the file does not have, and for a class "ignore" that nobody has explained.
    """
    unknown = sorted(set(renames) - set(foreign.names))
    if unknown:
        raise DataError(where, f"has no class {unknown[0]!r}", f"its classes are {', '.join(foreign.names[:20])}")
    if IGNORE_CLASS in foreign.names and ignore is None and IGNORE_CLASS not in renames:
        remedy = "--ignore class reads it as ignore, --ignore omit keeps it as a class"
        raise DataError(where, f"has a class named {IGNORE_CLASS!r}", remedy)
    if ignore == "class":
        renames = {IGNORE_CLASS: "", **renames}
    values = np.full(256, IGNORE, np.uint8)
    names: dict[str, int] = {}
    palette = []
    colours = foreign.palette or default_palette(len(foreign.names))
    for index, name in enumerate(foreign.names):
        name = renames.get(name, name)
        if name and name not in names:
            names[name] = len(names)
            palette.append(colours[index])
        if name:
            values[index] = names[name]
    if background is not None and background not in names:
        names[background] = len(names)
        palette.append((0, 0, 0))
    if not names:
        left = "".join(f", only {count} of type {what!r}" for what, count in foreign.notes.items())
        raise DataError(where, f"has no class{left}", "annotate regions first, with polygons or masks")
    if foreign.names_are_typed:
        _check_spellings(list(names), where)
    if len(names) > IGNORE:
        raise DataError(where, f"{len(names)} classes are more than {IGNORE}", "merge or drop some with --map")
    fill = None if background is None else names[background]
    return ClassTable(tuple(names), tuple(range(len(names))), palette, values, fill)


def _check_spellings(names: Sequence[str], where: object) -> None:
    """Raise DataError for names that differ only in case or spaces."""
    spelt: dict[str, str] = {}
    for name in names:
        other = spelt.setdefault(" ".join(name.split()).casefold(), name)
        if other != name:
            what = f"its classes {other!r} and {name!r} differ only in case or spaces"
            raise DataError(where, what, f"say that they are one: --map {shlex.quote(f'{name}={other}')}")


def without_unused(table: ClassTable, unused: Sequence[str], counts: NDArray[np.int64]) -> ClassTable:
    """Drop classes that have no pixel, of those named; the values in the masks stay."""
    kept = [i for i, name in enumerate(table.names) if name not in unused or counts[table.ids[i]]]
    names, ids = tuple(table.names[i] for i in kept), tuple(table.ids[i] for i in kept)
    return ClassTable(names, ids, [table.palette[i] for i in kept], table.values, table.background)


def import_files(
    pairs: Sequence[tuple[ForeignImage, Target]],
    foreign: ForeignLabels,
    table: ClassTable,
    summary: ImportSummary,
    *,
    max_bad: int,
    copy: bool,
    others: Mapping[str, Callable[[], bytes]],
    done: Callable[[], None] = lambda: None,
) -> Iterator[FileItem]:
    """Masks, the class file, and with `copy` all images; `others` have no annotation.

    An image whose annotations are bad gets no mask. Raises DataError if there are more than `max_bad` of them.
    """
    stems = mirror_names({path: _stem(path) for path in (*(t.path for _, t in pairs), *others)}, ".png")
    for image, target in pairs:
        data = target.read()
        try:
            labels = drawn(image, data, target.path, table)
        except DataError as error:
            summary.bad.append(str(error))
        else:
            summary.images += 1
            summary.counts += np.bincount(labels.ravel(), minlength=256)
            yield f"masks/{stems[target.path]}", png.encode(labels)
        if copy:
            yield _image_name(stems, target.path), data
        done()
    if len(summary.bad) > max_bad:
        what = f"images with bad annotations: {len(summary.bad)}: {first_of(summary.bad)}"
        raise DataError("import", what, "correct them, or leave such images without a mask with --max-bad N")
    for path, read in others.items() if copy else ():
        yield _image_name(stems, path), read()
    table = without_unused(table, foreign.unused, summary.counts)
    summary.names = table.names
    yield "classes.toml", class_file(table)


def drawn(image: ForeignImage, data: bytes, path: str, table: ClassTable) -> LabelMap:
    """The mask (H, W) of an image. Raises DataError."""
    with naming_limit(""):
        width, height = image_size(data, where=path, max_pixels=MAX_PIXELS)
    if image.size is not None and image.size != (height, width):
        stated = f"{image.size[1]} x {image.size[0]}"
        raise LabelError(
            image.where, f"states {stated}, the image {path!r} is {width} x {height}", "which one is it of?"
        )
    labels = image.draw(height, width)
    mask = table.values[labels]
    if table.background is not None:
        mask[labels == IGNORE] = table.background
    return mask


def _stem(path: str) -> str:
    return path.removesuffix(PurePosixPath(path).suffix)


def _image_name(stems: Mapping[str, str], path: str) -> str:
    return f"images/{_stem(stems[path])}{PurePosixPath(path).suffix}"


def class_file(table: ClassTable) -> bytes:
    """TOML as `classes.parse_class_file` reads it."""
    names = ", ".join(_toml(name) for name in table.names)
    palette = ", ".join(f"[{', '.join(map(str, colour))}]" for colour in table.palette)
    return f"names = [{names}]\nids = {list(table.ids)}\npalette = [{palette}]\nignored_ids = [255]\n".encode()


def _toml(text: str) -> str:
    """A basic string: TOML escapes control characters, quotation marks and backslashes."""
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else "\\" + c if c in '"\\' else c for c in text
    )
    return f'"{escaped}"'
