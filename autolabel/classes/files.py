"""Class sets from files (a TOML class file or the configuration of Mapillary Vistas), and class names in settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autolabel.classes.class_set import IGNORE, ClassSet
from autolabel.classes.mask_classes import MAX_ID, MaskClasses, SourceClass, merged, targets_of
from autolabel.classes.palettes import default_palette, mask_colours
from autolabel.classes.published import with_published
from autolabel.errors import ConfigError, ManifestError, SettingError
from autolabel.suggest import did_you_mean
from autolabel.toml_text import parse_toml


def id_of_name(name: str, names: Sequence[str], *, where: str) -> int:
    """The train id of the class that the setting `where` names. Raises SettingError."""
    if name not in names:
        remedy = did_you_mean(name, names) or f"classes are {', '.join(names)}"
        raise SettingError(where, f"no class is named {name!r}", remedy)
    return names.index(name)


_Rgb = Annotated[list[int], Field(min_length=3, max_length=3)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = "folder"
    names: list[str]
    ids: list[int | list[int]] | None = None  # id or ids of each class in the masks; default 0, 1, 2, ...
    palette: list[_Rgb] | str | None = None  # colour of each class, or the name of a published palette
    ignored_ids: list[int] | None = None  # other ids in a mask that mean "no class"
    ignored_colours: list[_Rgb] | None = None  # other colours in a mask that mean "no class"
    merge: dict[str, str] = {}  # class -> the class that it counts as
    drop: list[str] = []  # classes that count as "no class"


def parse_class_file(text: str, where: object) -> ClassSet:
    """The classes of `parse_mask_classes`."""
    return parse_mask_classes(text, where).classes


def parse_mask_classes(text: str, where: object) -> MaskClasses:
    """Parse a TOML class file; only `names`, or `dataset = "ade20k"` in its place, is required. Raises ConfigError.

    names = ["lawn", "path", "shed", "barn"]
    ids = [1, 2, 3, [4, 5]]            # default 0, 1, 2, ...
    palette = [[0, 160, 0], [200, 180, 120], [120, 60, 20], [90, 40, 10]]    # or "voc" or "cityscapes"
    ignored_ids = [0, 255]             # default [255], or none if 255 is the id of a class
    ignored_colours = [[0, 0, 0]]      # default none
    merge = { barn = "shed" }
    drop = ["path"]
    """
    try:
        table = parse_toml(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, or a number of 5000 digits
        raise ConfigError(where, f"not valid TOML: {error}", 'write names = ["road", "car", ...]') from error
    try:
        return _mask_classes(_File.model_validate(with_published(table)))
    except ValidationError as error:
        raise ConfigError(where, _first_problem(error), 'write names = ["road", "car", ...]') from error
    except ValueError as error:
        raise ConfigError(where, str(error), "correct it in this file") from error


def _mask_classes(file: _File) -> MaskClasses:
    ids = _ids(file)
    colours, ignored_colours = mask_colours(file.palette, file.names, ids)
    shown = default_palette(len(file.names)) if colours is None else colours
    ClassSet(file.name, tuple(file.names), shown, tuple(range(len(file.names))), ())  # checks names and colours
    listed = [] if file.ignored_colours is None else [(r, g, b) for r, g, b in file.ignored_colours]
    return merged(
        [
            SourceClass(name, own, () if colours is None else (colours[index],))
            for index, (name, own) in enumerate(zip(file.names, ids, strict=True))
        ],
        targets_of(file.names, file.merge, file.drop),
        name=file.name,
        palette=shown,
        ignored_ids=_ignored_ids(file, ids),
        ignored_colours=[*listed, *ignored_colours],
    )


def _ids(file: _File) -> list[tuple[int, ...]]:
    count = len(file.names)
    ids = [(x,) if isinstance(x, int) else tuple(x) for x in (range(count) if file.ids is None else file.ids)]
    if len(ids) != count:
        raise ValueError(f"ids has {len(ids)} entries for {count} names")
    empty = next((index for index, own in enumerate(ids) if not own), None)
    if empty is not None:
        raise ValueError(f"ids[{empty}] is an empty list")
    return ids


def _ignored_ids(file: _File, ids: list[tuple[int, ...]]) -> list[int]:
    used = [x for own in ids for x in own]
    ignored = file.ignored_ids
    if ignored is None:
        ignored = [] if IGNORE in used else [IGNORE]
    wrong = next((x for x in (*used, *ignored) if not 0 <= x <= MAX_ID), None)
    if wrong is not None:
        raise ValueError(f"an id must be a number from 0 to {MAX_ID}, not {wrong}")
    return ignored


def read_class_set(text: str, where: object) -> ClassSet:
    """Parse a class file or the configuration of Mapillary Vistas, told apart by the brace at the start of JSON.

    Raises ConfigError and ManifestError.
    """
    text = text.removeprefix("\ufeff")
    if not text.lstrip().startswith("{"):
        return parse_class_file(text, where)
    try:
        return mapillary_classes(json.loads(text), where)
    except (ValueError, RecursionError) as error:
        raise ConfigError(where, f"not valid JSON: {error}") from error


def _first_problem(error: ValidationError) -> str:
    # Unknown keys first: `nmaes` explains why `names` is missing.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    union = ("int", "str")  # pydantic also names the member of a union: list[list[int]], int
    key = ".".join(text for text in map(str, first["loc"]) if "[" not in text and text not in union)
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}"
    return ", ".join(filter(None, (f"unknown key {key!r}", did_you_mean(key, _File.model_fields))))


def mapillary_classes(config: Any, where: object) -> ClassSet:
    """The classes of a Mapillary Vistas `config*.json`: an id is an index in `labels`.

    Evaluated labels become train ids in their order (65 in v1.2, 116 in v2.0); the others are ignored.
    Raises ManifestError.
    """
    labels = config.get("labels") if isinstance(config, dict) else None
    if not isinstance(labels, list) or not labels:
        raise ManifestError(where, "holds no list 'labels'", "use the config file that came with the data set")
    for index, label in enumerate(labels):
        if not isinstance(label, dict) or not {"name", "color", "evaluate"} <= set(label):
            raise ManifestError(where, f"labels[{index}] lacks one of name, color, evaluate")
    evaluated = [index for index, label in enumerate(labels) if label["evaluate"] is True]
    rest = [index for index, label in enumerate(labels) if label["evaluate"] is not True]
    table = {
        "name": "mapillary",
        "names": [labels[index]["name"] for index in evaluated],
        "palette": [labels[index]["color"] for index in evaluated],
        "ids": evaluated,
        "ignored_ids": rest or [IGNORE],
    }
    return ClassSet.from_dict(table, where)
