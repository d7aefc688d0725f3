"""The options --ids and --classes: the ids that `cut` and `predict` write, without an experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from autolabel.classes import CLASS_SETS, IGNORE, ClassSet, read_class_set
from autolabel.classes.palettes import default_palette
from autolabel.errors import ConfigError, DataError
from autolabel.labels.label_set import LabelIds, Statement, read_statement
from autolabel.user_files import read_text

F = TypeVar("F", bound=Callable[..., Any])

_ids_option = click.option(
    "--ids",
    "label_ids",
    type=click.Choice(["train", "dataset"]),
    default="train",
    show_default=True,
    help="Ids in the label files: 0, 1, 2, ... in class order, or the data set's own.",
)
_classes_option = click.option(
    "--classes",
    "class_file",
    type=click.Path(path_type=Path),
    help="Class file of the data set (classes.toml, or the classes.json of a label set): its ids and colours.",
)


def label_id_options(function: F) -> F:
    """--ids and --classes, passed as `label_ids` and `class_file`."""
    return _ids_option(_classes_option(function))


def statement_of(names: Sequence[str], label_ids: LabelIds, class_file: Path | None) -> Statement:
    """The classes of these names, from the class file or the known data sets. Raises ConfigError and DataError."""
    if class_file is not None:
        classes = _read(class_file)
        if classes.names != tuple(names):
            odd = ", ".join(sorted({*classes.names} ^ {*names})[:3])
            what = f"its classes are not those of the labels: {odd}" if odd else "its classes have another order"
            raise ConfigError(class_file, what, f"the labels have {', '.join(names)}")
        return Statement(classes, label_ids)
    known = next((classes for classes in CLASS_SETS.values() if classes.names == tuple(names)), None)
    if known is None and label_ids == "dataset":
        raise ConfigError("--ids", "the data set's own ids are not known here", "name its class file with --classes")
    return Statement(known or _plain(names), label_ids)


def _read(file: Path) -> ClassSet:
    text = read_text(file, DataError, "name the class file of the data set")
    statement = read_statement(text.encode(), file) if text.lstrip().startswith("{") else None
    return read_class_set(text, file) if statement is None else statement.classes


def _plain(names: Sequence[str]) -> ClassSet:
    """Train ids, and colours by number. Names of a foreign network may be blank or repeated: they get their number."""
    unique: list[str] = []
    for number, name in enumerate(names):
        while not name.strip() or name in unique:
            name += f" #{number}"
        unique.append(name)
    return ClassSet("unknown", tuple(unique), default_palette(len(names)), tuple(range(len(names))), (IGNORE,))
