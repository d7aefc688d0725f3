"""Folders of mask PNGs, each named as its image: 8-bit grey or palette PNGs of ids, with a class table."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from autolabel.classes import IGNORE, ClassSet
from autolabel.classes.class_set import Colour
from autolabel.classes.palettes import default_palette
from autolabel.data.decode import decode_label
from autolabel.data.sources.base import first_three
from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem, files_below, suffix_of
from autolabel.errors import ConfigError, DataError, LabelError
from autolabel.formats.base import ForeignImage, ForeignLabels, ImportOptions, LabelMap
from autolabel.user_files import read_user_file

MAX_MASK_BYTES = 500_000_000
MAX_MASK_PIXELS = 256_000_000


def plain_classes(names: tuple[str, ...]) -> ClassSet:
    """Classes whose ids are their positions, with 255 = ignore."""
    return ClassSet("masks", names, default_palette(len(names)), tuple(range(len(names))), (IGNORE,))


def mask_images(folder: Path, classes: ClassSet, encoding: str) -> list[ForeignImage]:
    """An image per PNG below the folder, named without a suffix. Raises DataError."""
    files = by_stem(folder, (".png",))
    others = sorted(path for path in files_below(folder) if _is_other(path) and path.rpartition(".")[0] not in files)
    if others:
        what = f"holds {len(others)} images that are no PNG, and no mask of their names: {first_three(others)}"
        raise DataError(folder, what, "export the masks as PNG, or move other images out")
    if not files:
        raise DataError(folder, "holds no mask PNG", "give the folder of the masks")
    return [
        ForeignImage(
            stem, None, str(folder / path), partial(_draw, file=folder / path, classes=classes, encoding=encoding)
        )
        for stem, path in files.items()
    ]


def _is_other(path: str) -> bool:
    return suffix_of(path).lower() in IMAGE_SUFFIXES and not path.lower().endswith(".png")


def _draw(height: int, width: int, *, file: Path, classes: ClassSet, encoding: str) -> LabelMap:
    data = read_user_file(file, LabelError, at_most=MAX_MASK_BYTES)
    return decoded(data, height, width, file, classes, encoding)


def decoded(data: bytes, height: int, width: int, where: object, classes: ClassSet, encoding: str) -> LabelMap:
    """The label map of a PNG that must have this size. Raises LabelError."""
    labels = decode_label(data, where=where, classes=classes, encoding=encoding, max_pixels=MAX_MASK_PIXELS)
    check_shape(labels.shape, height, width, where)
    return labels


def check_shape(shape: tuple[int, ...], height: int, width: int, where: object) -> None:
    if shape != (height, width):
        what = f"is {shape[1]} x {shape[0]}, its image is {width} x {height}"
        raise LabelError(where, what, "masks must have the size of their image")


def colours_of(palette: object, number: int) -> tuple[Colour, ...] | None:
    """A list of `number` RGB colours, or None."""
    if not isinstance(palette, list) or len(palette) != number:
        return None
    colours = [tuple(colour) if isinstance(colour, list) else () for colour in palette]
    valid = all(len(c) == 3 and all(type(v) is int and 0 <= v <= 255 for v in c) for c in colours)
    return tuple(colours) if valid else None


def read(folder: Path, options: ImportOptions) -> ForeignLabels:
    """Masks of the ids in `options.table`, which is a class file. Raises DataError and ConfigError."""
    if options.table is None:
        raise ConfigError("--classes", "is missing", "masks do not name their classes: give a class file (TOML)")
    if not folder.is_dir():
        raise DataError(folder, "is no folder", "give the folder of the masks")
    return ForeignLabels(options.table.names, options.table.palette, mask_images(folder, options.table, "palette_ids"))
