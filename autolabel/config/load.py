"""Read an experiment: TOML text and `--set` overrides become a checked `Experiment`, or one ConfigError."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path, PurePath
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from autolabel.config.networks import HUB, TEACHER_WEIGHTS
from autolabel.config.schema import Experiment
from autolabel.errors import ConfigError
from autolabel.suggest import did_you_mean
from autolabel.toml_text import parse_toml
from autolabel.user_files import read_user_file

_MAX_BYTES = 1_000_000
# Settings that name files: relative to the experiment file, and with --set to the current folder.
_PATHS = (("data", "root"), ("teacher", "weights"), ("student", "weights"))
# These are not paths; ./imagenet is.
_WEIGHTS_KEYWORDS = {"teacher": ("imagenet", "random"), "student": ("imagenet", "random", TEACHER_WEIGHTS)}
_FOLDERS_OR_IDS = (("teacher", "huggingface"), ("student", "huggingface"))  # a hub id looks like a relative path


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read `path`, apply overrides `key.sub=value` with TOML values, and check everything. Raises ConfigError."""
    raw = read_user_file(path, ConfigError, "give the path of a TOML file", at_most=_MAX_BYTES)
    return parse_experiment(raw, where=path, base=path.parent, overrides=overrides)


def parse_experiment(raw: bytes, *, where: object, base: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Parse TOML bytes; relative paths in them start at `base`. Raises ConfigError."""
    try:
        document = parse_toml(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(where, "is not UTF-8 text", "give the path of a TOML file") from error
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, or a number of 5000 digits
        raise ConfigError(where, f"is not valid TOML: {error}", "correct that line") from error
    anchor_paths(document, base)
    for override in overrides:
        if not is_utf8(override):
            raise ConfigError(f"--set {override}", "is not UTF-8 text", "retype it")
        _apply(document, override)
    return check_document(document, where)


def check_document(document: Mapping[str, Any], where: object) -> Experiment:
    """The experiment of a document as TOML holds it, its paths absolute. Raises ConfigError."""
    try:
        # JSON is pydantic's strict mode for files: lists become tuples, but "1" never becomes 1.
        return Experiment.model_validate_json(json.dumps(document, default=_plain))
    except ValidationError as error:
        raise _explain(error, where) from error
    except TypeError as error:
        raise ConfigError(
            where, f"holds a value that no setting has: {error}", "give text, numbers or lists"
        ) from error
    except RecursionError as error:
        raise ConfigError(where, "its tables are nested too deeply", "no setting is so deep") from error
    except ValueError as error:  # Python refuses to print a number of thousands of digits, such as TOML's 0xfff...
        raise ConfigError(where, "holds a number of thousands of digits", "no setting is so large") from error


def _plain(value: object) -> object:
    """A value that JSON does not know: settings tables become dictionaries, dates and paths text. Raises TypeError."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, PurePath | date | time):
        return str(value)
    raise TypeError(f"an object of type {type(value).__name__}")


def anchor_paths(document: dict[str, Any], base: Path) -> None:
    for table, key in (*_PATHS, *_FOLDERS_OR_IDS):
        section = document.get(table)
        if isinstance(section, dict) and isinstance(section.get(key), str | PurePath):
            section[key] = _anchored_setting((table, key), str(section[key]), base)


def _anchored_setting(setting: tuple[str, ...], value: str, base: Path) -> str:
    """The absolute path. A keyword stays as it is, and so does a hub id that is not also the name of a folder."""
    if setting[-1] == "weights" and (value in _WEIGHTS_KEYWORDS[setting[0]] or value.startswith(HUB)):
        return value
    path = _anchored(value, base, ".".join(setting))
    return value if setting in _FOLDERS_OR_IDS and not Path(path).is_dir() else path


def _anchored(path: str, base: Path, setting: str) -> str:
    """The absolute path with links resolved. Raises ConfigError where `path` cannot be one."""
    try:
        absolute = str((base / Path(path).expanduser()).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, a loop of links, ~ without a home folder
        raise ConfigError(setting, f"{path!r} is no path: {error}", "change it") from error
    if not is_utf8(absolute):
        raise ConfigError(setting, f"{absolute!r} is not UTF-8", "rename the folder")
    return absolute


def is_utf8(text: str) -> bool:
    """Whether a text from the system, such as an argument or a file name, was valid UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)  # invalid bytes become surrogates


def _apply(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not separator or not all(parts):
        raise ConfigError(f"--set {override}", "is not of the form key=value", "write e.g. --set teacher.epochs=3")
    apply_setting(document, parts, _value(text), where=f"--set {override}")


def apply_setting(document: dict[str, Any], parts: tuple[str, ...], value: Any, *, where: str) -> None:
    """Set `parts`, the dotted key, in the document; relative paths start at the current folder. Raises ConfigError."""
    if parts in (*_PATHS, *_FOLDERS_OR_IDS) and isinstance(value, str | PurePath):
        value = _anchored_setting(parts, str(value), Path())
    if len(parts) == 1:
        anchor_paths({parts[0]: value}, Path())
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(where, f"{part!r} is a value, not a table", "name a setting in a table")
    table[parts[-1]] = value


def _value(text: str) -> Any:
    """Parse a TOML value; any other text stays as it is, so that --set runtime.device=cpu needs no quotes."""
    try:
        table = parse_toml(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    return table["value"] if len(table) == 1 else text.strip()  # after a line break there may be a second setting


def toml_string(text: str) -> str:
    """A TOML basic string: a JSON one, except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_literal(text: str) -> str:
    """The value of a `--set` as TOML, for a line of an experiment file."""
    value = _value(text)
    return toml_string(value) if isinstance(value, str) else text.strip()


def toml_value(value: object) -> str:
    """A setting's value as TOML. Raises ValueError for what TOML cannot say."""
    if isinstance(value, str | os.PathLike):
        return toml_string(os.fspath(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return repr(float(value))  # numpy's float64 is a float, and writes its type into its repr
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{toml_string(str(key))} = {toml_value(v)}' for key, v in value.items())} }}"
    raise ValueError(f"is of type {type(value).__name__}")


def _explain(error: ValidationError, where: object) -> ConfigError:
    problems = error.errors(include_url=False, include_input=True)
    # Unknown keys first: `nmae` explains why `name` is missing.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    names, fields = _locate(first["loc"])
    key = ".".join(names)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        remedy = did_you_mean(names[-1], fields) or f"known keys: {', '.join(sorted(fields))}"
        return ConfigError(where, f"unknown key {key!r}{more}", remedy)
    if first["type"] == "missing":
        return ConfigError(where, f"{key!r} is missing{more}", "add it")
    if first["type"] == "union_tag_invalid":
        sources = first["ctx"]["expected_tags"]
        return ConfigError(where, f"unknown source {first['ctx']['tag']!r}{more}", f"one of {sources}")
    if first["type"] == "union_tag_not_found":
        return ConfigError(where, f"'data.source' is missing{more}", "name the source of the data")
    message = first["msg"][0].lower() + first["msg"][1:]
    return ConfigError(where, f"{key} = {first['input']!r}: {message}{more}"[:400], "change it")


def _locate(loc: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The dotted key of an error, and the keys that its table knows. Drops the tag that pydantic adds for a union."""
    names: list[str] = []
    models: list[type[BaseModel]] = [Experiment]
    for part in loc:
        tagged = [m for m in models if _tag(m) == part]
        if tagged and len(models) > 1:
            models = tagged
            continue
        names.append(str(part))
        known = [field for m in models if (field := m.model_fields.get(str(part)))]
        if part == loc[-1]:
            break
        models = [m for field in known for m in _models_in(field.annotation)] or models
    return names, [name for m in models for name in m.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("source")
    return get_args(field.annotation)[0] if field is not None else None
