"""Class sets from files (a TOML class file or the configuration of Mapillary Vistas), and class names in settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autolabel.classes.class_set import IGNORE, ClassSet, Colour
from autolabel.errors import ConfigError, ManifestError, SettingError
from autolabel.suggest import did_you_mean
from autolabel.user_files import parse_toml


def id_of_name(name: str, names: Sequence[str], *, where: str) -> int:
    """The train id of the class that the setting `where` names. Raises SettingError."""
    if name not in names:
        remedy = did_you_mean(name, names) or f"classes are {', '.join(names)}"
        raise SettingError(where, f"no class is named {name!r}", remedy)
    return names.index(name)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = "folder"
    names: list[str]
    ids: list[int] | None = None  # id of each class in the masks; default 0, 1, 2, ...
    palette: list[Annotated[list[int], Field(min_length=3, max_length=3)]] | None = None
    ignored_ids: list[int] = [IGNORE]  # other ids in a mask that mean "no class"


def parse_class_file(text: str, where: object) -> ClassSet:
    """Parse a TOML class file; only `names` is required. Raises ConfigError.

    names = ["lawn", "path", "shed"]
    ids = [1, 2, 3]                    # default 0, 1, 2, ...
    palette = [[0, 160, 0], [200, 180, 120], [120, 60, 20]]
    ignored_ids = [0, 255]             # default [255]
    """
    try:
        table = parse_toml(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, or a number of 5000 digits
        raise ConfigError(where, f"not valid TOML: {error}") from error
    try:
        file = _File.model_validate(table)
        count = len(file.names)
        return ClassSet(
            name=file.name,
            names=tuple(file.names),
            palette=default_palette(count) if file.palette is None else tuple((r, g, b) for r, g, b in file.palette),
            ids=tuple(range(count)) if file.ids is None else tuple(file.ids),
            ignored_ids=tuple(file.ignored_ids),
        )
    except ValidationError as error:
        raise ConfigError(where, _first_problem(error), 'write names = ["road", "car", ...]') from error
    except ValueError as error:
        raise ConfigError(where, str(error)) from error


def read_class_set(text: str, where: object) -> ClassSet:
    """Parse a class file or the configuration of Mapillary Vistas, told apart by the brace at the start of JSON.

    Raises ConfigError and ManifestError.
    """
    if not text.lstrip().startswith("{"):
        return parse_class_file(text, where)
    try:
        return mapillary_classes(json.loads(text), where)
    except (ValueError, RecursionError) as error:
        raise ConfigError(where, f"not valid JSON: {error}") from error


def _first_problem(error: ValidationError) -> str:
    # Unknown keys first: `nmaes` explains why `names` is missing.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}"
    return ", ".join(filter(None, (f"unknown key {key!r}", did_you_mean(key, _File.model_fields))))


def default_palette(count: int) -> tuple[Colour, ...]:
    """`count` distinct colours: the bits of an index are spread over R, G and B (PASCAL VOC devkit, VOClabelcolormap).

    The first index is 1, because VOC's index 0 is black, which means "no class" here.
    """
    return tuple(_spread(index) for index in range(1, count + 1))


def _spread(index: int) -> Colour:
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue


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
