"""The label sets of autolabel, as exports and corrections read them: artefacts, and folders of `cut` and `predict`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from autolabel.artifacts import read_manifest
from autolabel.classes import ClassSet
from autolabel.data.decode import decode_label
from autolabel.data.schema import unsafe_path
from autolabel.errors import DataError
from autolabel.formats.base import LabelMap
from autolabel.formats.documents import read_json
from autolabel.labels import label_set
from autolabel.store import Artefact, digest_json, sha256_bytes
from autolabel.user_files import read_user_file

MAX_PIXELS, MAX_BYTES = 256_000_000, 1_000_000_000  # of a label file
REMEDY = "give a label artefact of a run, or a folder that `autolabel cut` or `autolabel predict` wrote"


@dataclass(frozen=True)
class LabelSetItem:
    """A label of the set. `image` is the path of the image where the set knows it, otherwise its id."""

    id: str
    image: str
    read: Callable[[], LabelMap]  # train ids
    image_sha256: str = ""  # of the image that was labelled; "" where the set does not know it


@dataclass(frozen=True)
class LabelSet:
    """`digest` stands for all labels. `facts` are for the data card."""

    where: Path
    classes: ClassSet
    items: tuple[LabelSetItem, ...]
    encoding: str  # of the label files, as in `data.schema.LabelRow`
    digest: str
    facts: Mapping[str, Any]


def open_label_set(path: Path) -> LabelSet:
    """Read the tables of a label set; label files are opened on demand. Raises DataError."""
    if (artefact := artefact_at(path)) is not None:
        return _artefact(artefact)
    return _folder(path, labels_folder(path))


def artefact_at(path: Path) -> Artefact | None:
    """The artefact at `path`, also where it names the artefact's data or its folder of labels, as a run prints them.

    None for any other folder. Raises CorruptArtefact.
    """
    place = path.absolute()
    for folder in (path, place.parent, place.parent.parent):
        if (folder / "COMMIT").is_file():
            artefact = Artefact.open(folder)
            stands_for_it = folder is path or place in (artefact.data, artefact.data / label_set.FOLDER)
            return artefact if stands_for_it else None
    return None


def labels_folder(path: Path) -> Path:
    """The folder with the table of a label set: this one, or its folder of labels. Raises DataError."""
    for folder in (path, path / label_set.FOLDER):
        if (folder / label_set.TABLE).is_file():
            return folder
    raise DataError(path, f"is no label set: it has no {label_set.FOLDER}/{label_set.TABLE}", REMEDY)


class LabelTables(NamedTuple):
    """The tables in a folder of labels: the statement of ids, and which file holds the labels of which image."""

    classes: ClassSet
    encoding: str  # of the label files, as in `data.schema.LabelRow`
    files: tuple[tuple[str, str], ...]  # (image id, name of the label file in the folder)
    table: bytes  # of labels.csv


def read_tables(read: Callable[[str], bytes], folder: Path) -> LabelTables:
    """Read and check the tables; `read` returns the bytes of a file of the folder by its name. Raises DataError."""
    where = folder / label_set.CLASSES
    statement = label_set.read_statement(read(label_set.CLASSES), where)
    if statement is None:
        raise DataError(where, "does not state the ids of the labels", "put the original back")
    table = read(label_set.TABLE)
    images = label_set.images_of_labels(table, folder / label_set.TABLE)
    for name in images:
        if (unsafe := unsafe_path(name)) is not None:
            raise DataError(folder / label_set.TABLE, f"label {name!r} {unsafe}", "put the original back")
    encoding = {"train": "train_ids", "dataset": "ids"}[statement.label_ids]
    return LabelTables(statement.classes, encoding, tuple((image, name) for name, image in images.items()), table)


def _artefact(artefact: Artefact) -> LabelSet:
    if "labels.parquet" not in artefact.names() or "ledger.json" not in artefact.names():
        raise DataError(artefact.path, "is an artefact of another stage", REMEDY)
    manifest = read_manifest(artefact)
    items = []
    for row in manifest.labels:
        read = partial(
            _decoded, partial(artefact.read, row.path), artefact.file(row.path), manifest.classes, row.encoding
        )
        image = manifest.image(row.image_id)
        items.append(LabelSetItem(image.id, _image_name(image.path, image.id), read, image.sha256))
    facts = {**artefact.meta, "provenance": artefact.provenance, "path": artefact.path}
    encoding = manifest.labels[0].encoding if manifest.labels else "train_ids"
    return LabelSet(artefact.path, manifest.classes, tuple(items), encoding, artefact.digest, facts)


def _image_name(path: str, image_id: str) -> str:
    """The path of an image below its folder: the id with the suffix of its file, if the path ends so."""
    stem, dot, suffix = path.rpartition(".")
    return image_id + dot + suffix if f"/{stem}".endswith(f"/{image_id}") else path


def _decoded(read: Callable[[], bytes], where: Path, classes: ClassSet, encoding: str) -> LabelMap:
    return decode_label(read(), where=where, classes=classes, encoding=encoding, max_pixels=MAX_PIXELS)


def _folder(path: Path, folder: Path) -> LabelSet:
    tables = read_tables(lambda name: read_user_file(folder / name, DataError, REMEDY), folder)
    items = []
    for image_id, name in tables.files:
        read = partial(
            read_user_file, folder / name, DataError, "put it back, or make the labels again", at_most=MAX_BYTES
        )
        decoded = partial(_decoded, read, folder / name, tables.classes, tables.encoding)
        items.append(LabelSetItem(image_id, image_id, decoded))
    digest = digest_json([sha256_bytes(tables.table), tables.classes.to_dict()])
    return LabelSet(path, tables.classes, tuple(items), tables.encoding, digest, _settings(path / "labels.json"))


def _settings(index: Path) -> dict[str, Any]:
    """The settings that `cut` wrote; nothing for a folder of `predict`."""
    table = read_json(index) if index.is_file() else {}
    keys = ("threshold", "class_thresholds")
    return {key: table[key] for key in keys if isinstance(table, dict) and key in table}
