"""Masks that come from a label set of autolabel: its `classes.json` says how to read them, not the class file.

A `classes.json` of ours speaks for all masks in its folder and below. If the folder also has the set's `labels.csv`, a
mask that this table does not list is of other origin. Where both would be read differently, that is an error: nothing
tells whose ids such a mask has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from autolabel.classes import IGNORE, ClassSet
from autolabel.data.schema import values_encoding
from autolabel.data.sources.base import raise_if_any
from autolabel.data.sources.listing import files_below
from autolabel.errors import DataError
from autolabel.labels.label_set import CLASSES, TABLE, Statement, images_of_labels, read_statement
from autolabel.store import WORK_MARK
from autolabel.user_files import read_user_file

_MAX_STATEMENT = 1_000_000  # bytes; 255 classes take a tenth of it


class Mask(NamedTuple):
    path: str  # below data.root
    encoding: str  # as in `schema.LabelRow`
    stated: bool = False  # whether it belongs to a label set, which says its image and its values


def with_statements(
    root: Path, folder: str, masks: Mapping[str, str], classes: ClassSet, class_file: Path, *, ids: bool = True
) -> dict[str, Mask]:
    """Image id -> mask, of masks as path without suffix -> path below `folder`. Raises DataError.

    `ids`: masks of encoding "ids" hold ids; without it (colours, palettes), a label set never gets this encoding.
    """
    found = {name: Mask(f"{folder}/{path}", "ids") for name, path in masks.items()}
    files = list(files_below(root / folder)) if (root / folder).is_dir() else []
    sets = [path for path in files if path.rpartition("/")[2] == CLASSES]
    stated: list[str] = []  # folders, each with a "/" at its end
    for path in sorted(sets, key=lambda path: (path.count("/"), path)):  # the statement nearest to a mask comes last
        file = root / folder / path
        statement = read_statement(read_user_file(file, DataError), file)
        if statement is not None:
            prefix = path.removesuffix(CLASSES)
            stated.append(prefix)
            inside = {name: mask for name, mask in found.items() if mask.path.startswith(f"{folder}/{prefix}")}
            encoding = _encoding(statement, classes, file, class_file)
            if encoding == "ids" and not ids:
                encoding = values_encoding(classes.ids, statement.ignored())
            read = _images(file.parent, prefix, inside, folder, doubtful=encoding != "ids")
            found = {name: mask for name, mask in found.items() if name not in inside}
            twice = set(found) & set(read)
            raise_if_any(twice, file.parent / TABLE, "images that another mask claims too", "keep one mask of each")
            found |= {name: Mask(path, encoding, stated=True) for name, path in read.items()}
    for path in files:
        if path.rpartition("/")[2] == TABLE and not path.startswith(tuple(stated)):
            _refuse_table(root / folder / path)
    return found


def refuse_results(images: Path, paths: Iterable[str]) -> None:
    """DataError if a folder of images holds results of autolabel, which would be taken for images.

    `paths` are those of its files, relative to it.
    """
    for path in paths:
        where = (images / path).parent
        remedy = f"move the results (labels, overlays, legend) out of {images}"
        if path.rpartition("/")[2] == CLASSES and states_labels(images / path):
            raise DataError(where, "holds labels that autolabel wrote, which would be taken for images", remedy)
        if path == WORK_MARK:
            raise DataError(where, "is a work folder, whose labels would be taken for images", remedy)


def states_labels(file: Path) -> bool:
    """Whether a `classes.json` is that of a label set; it may be a file of somebody else, or damaged."""
    with suppress(DataError):
        return read_statement(read_user_file(file, DataError, at_most=_MAX_STATEMENT), file) is not None
    return False


def _refuse_table(file: Path) -> None:
    """DataError for a table of ours whose statement is gone: its masks may have other ids than the class file says."""
    try:
        images_of_labels(read_user_file(file, DataError), file)
    except DataError:
        return  # a file of the user that has the same name
    what = f"belongs to labels of autolabel, and the {CLASSES} that says their ids is not beside it"
    raise DataError(file, what, f"put {CLASSES} back; or remove this file, if the class file says the ids")


def _encoding(statement: Statement, classes: ClassSet, where: Path, class_file: Path) -> str:
    theirs, ours = statement.classes.names, classes.names
    odd = [f"{name!r} is not in {class_file.name}" for name in theirs if name not in ours]
    odd += [f"{name!r} is only in {class_file.name}" for name in ours if name not in theirs]
    if odd:
        remedy = f"give {class_file.name} the names that {CLASSES} has, or label again with the new classes"
        raise DataError(where, f"its classes are not those of {class_file}: {', '.join(odd[:3])}", remedy)
    return encoding_of(statement, classes)


def encoding_of(statement: Statement, classes: ClassSet) -> str:
    """The encoding of a label set's PNGs in a manifest of `classes`: classes of the same names, in any order."""
    theirs, written, ignored = statement.classes.names, statement.values(), statement.ignored()
    values = tuple(int(written[theirs.index(name)]) for name in classes.names)
    if values == classes.ids and {*ignored} <= {*classes.ignored_ids}:
        return "ids"
    if values == tuple(range(classes.num_classes)) and ignored == (IGNORE,):
        return "train_ids"
    return values_encoding(values, ignored)


def _images(place: Path, prefix: str, masks: Mapping[str, Mask], folder: str, *, doubtful: bool) -> dict[str, str]:
    """Image id -> path of its mask, by the table where there is one."""
    if not (place / TABLE).is_file():
        return {name: mask.path for name, mask in masks.items()}
    table = images_of_labels(read_user_file(place / TABLE, DataError), place / TABLE)
    images = {f"{folder}/{prefix}{label}": f"{prefix}{image}" for label, image in table.items()}
    other = [mask.path for mask in masks.values() if mask.path not in images]
    if doubtful:
        remedy = (
            'write the label set in the ids of your masks (--ids dataset, or label.ids = "dataset"), or keep them apart'
        )
        raise_if_any(other, place, f"masks that {TABLE} does not list, beside labels in other ids", remedy)
    read = {images.get(mask.path, name): mask.path for name, mask in masks.items()}
    if len(read) < len(masks):
        raise DataError(place / TABLE, "gives an image a label beside its own mask", "keep one of the two")
    return read
