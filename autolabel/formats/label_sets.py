"""The label sets of autolabel, as exports and corrections read them: artefacts, and folders of `cut` and `predict`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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

MAX_PIXELS = 256_000_000
_REMEDY = "give a label artefact of a run, or a folder that `autolabel cut` or `autolabel predict` wrote"


@dataclass(frozen=True)
class LabelSetItem:
    """A label of the set. `image` is the path of the image where the set knows it, otherwise its id."""

    id: str
    image: str
    read: Callable[[], LabelMap]  # train ids


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
    if (path / "COMMIT").is_file():
        return _artefact(Artefact.open(path))
    folder = path if (path / label_set.TABLE).is_file() else path / label_set.FOLDER
    if not (folder / label_set.TABLE).is_file():
        raise DataError(path, f"is no label set: it has no {label_set.FOLDER}/{label_set.TABLE}", _REMEDY)
    return _folder(path, folder)


def _artefact(artefact: Artefact) -> LabelSet:
    if "labels.parquet" not in artefact.names() or "ledger.json" not in artefact.names():
        raise DataError(artefact.path, "is an artefact of another stage", _REMEDY)
    manifest = read_manifest(artefact)
    items = []
    for row in manifest.labels:
        read = partial(
            _decoded, partial(artefact.read, row.path), artefact.file(row.path), manifest.classes, row.encoding
        )
        items.append(LabelSetItem(row.image_id, _image_name(manifest.image(row.image_id).path, row.image_id), read))
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
    statement_file, table_file = folder / label_set.CLASSES, folder / label_set.TABLE
    statement = label_set.read_statement(read_user_file(statement_file, DataError, _REMEDY), statement_file)
    if statement is None:
        raise DataError(statement_file, "does not state the ids of the labels", "put the original back")
    table = read_user_file(table_file, DataError, _REMEDY)
    encoding = "train_ids" if statement.label_ids == "train" else "ids"
    images = label_set.images_of_labels(table, table_file)
    items = []
    for label, image_id in images.items():
        unsafe = unsafe_path(label)
        if unsafe is not None:
            raise DataError(table_file, f"label {label!r} {unsafe}", "put the original back")
        read = partial(read_user_file, folder / label, DataError, at_most=1_000_000_000)
        decoded = partial(_decoded, read, folder / label, statement.classes, encoding)
        items.append(LabelSetItem(image_id, image_id, decoded))
    digest = digest_json([sha256_bytes(table), statement.classes.to_dict()])
    return LabelSet(path, statement.classes, tuple(items), encoding, digest, _settings(path / "labels.json"))


def _settings(index: Path) -> dict[str, Any]:
    """The settings that `cut` wrote; nothing for a folder of `predict`."""
    table = read_json(index) if index.is_file() else {}
    keys = ("threshold", "class_thresholds")
    return {key: table[key] for key in keys if isinstance(table, dict) and key in table}
