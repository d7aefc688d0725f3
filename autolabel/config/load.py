"""Reading an experiment: TOML text and `--set` overrides -> a checked `Experiment`, or one clear line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from autolabel.config.schema import Experiment
from autolabel.errors import ConfigError
from autolabel.suggest import did_you_mean
from autolabel.user_files import read_user_file

_MAX_BYTES = 1_000_000
# Settings that name files: written relative to the experiment file, overridden relative to the current folder.
_PATHS = (("data", "root"), ("teacher", "weights"), ("student", "weights"))
_WEIGHTS_KEYWORDS = ("imagenet", "random")  # in place of the path of a weights file; ./imagenet is a file
_FOLDERS_OR_IDS = (("teacher", "huggingface"), ("student", "huggingface"))  # a hub id looks like a relative path


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read `path`, apply `key.sub=value` overrides (values are TOML), check everything; raises ConfigError."""
    raw = read_user_file(path, ConfigError, "give the path of a TOML file", at_most=_MAX_BYTES)
    return parse_experiment(raw, where=path, base=path.parent, overrides=overrides)


def parse_experiment(raw: bytes, *, where: object, base: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Parse TOML bytes; relative paths in them are taken from `base`."""
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(where, "is not UTF-8 text", "give the path of a TOML file") from error
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, or a number of 5000 digits
        raise ConfigError(where, f"is not valid TOML: {error}", "mend the line named") from error
    _anchor_paths(document, base)
    for override in overrides:
        if not is_utf8(override):
            raise ConfigError(f"--set {override}", "is not UTF-8 text", "retype it")
        _apply(document, override)
    try:
        # JSON is pydantic's strict mode for files: lists become tuples, but "1" never becomes 1.
        return Experiment.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        raise _explain(error, where) from error
    except RecursionError as error:
        raise ConfigError(where, "its tables lie too deep in one another", "no setting lies so deep") from error
    except ValueError as error:  # from Python: TOML's 0xfff... may be a number longer than it writes in decimal
        raise ConfigError(where, "holds a number of thousands of digits", "no setting is so large") from error


def _anchor_paths(document: dict[str, Any], base: Path) -> None:
    for table, key in (*_PATHS, *_FOLDERS_OR_IDS):
        section = document.get(table)
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = _anchored_setting((table, key), section[key], base)


def _anchored_setting(setting: tuple[str, ...], value: str, base: Path) -> str:
    """The absolute path; a keyword stays as it is, and a hub id unless it is a folder's name too."""
    if setting[-1] == "weights" and value in _WEIGHTS_KEYWORDS:
        return value
    path = _anchored(value, base, ".".join(setting))
    return value if setting in _FOLDERS_OR_IDS and not Path(path).is_dir() else path


def _anchored(path: str, base: Path, setting: str) -> str:
    """The absolute path, links followed; ConfigError for what no path can be."""
    try:
        found = str((base / Path(path).expanduser()).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, a ring of links, ~ without a home folder
        raise ConfigError(setting, f"{path!r} is no path: {error}", "change it") from error
    if not is_utf8(found):
        raise ConfigError(setting, f"{found!r} is not UTF-8", "rename the folder")
    return found


def is_utf8(text: str) -> bool:
    """Whether a text that came from the system (an argument, a file name) was UTF-8 there."""
    return not any("\ud800" <= character <= "\udfff" for character in text)  # bytes that are no UTF-8 become these


def _apply(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not separator or not all(parts):
        raise ConfigError(f"--set {override}", "is not of the form key=value", "write e.g. --set teacher.epochs=3")
    value = _value(text)
    if parts in (*_PATHS, *_FOLDERS_OR_IDS) and isinstance(value, str):
        value = _anchored_setting(parts, value, Path())
    if len(parts) == 1:
        _anchor_paths({parts[0]: value}, Path())
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override}", f"{part!r} is a value, not a table", "name a setting below a table")
    table[parts[-1]] = value


def _value(text: str) -> Any:
    """A TOML value; or the text itself, so that --set runtime.device=cpu needs no shell-proof quotes."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    return found["value"] if len(found) == 1 else text.strip()  # a line break begins a second setting


def _explain(error: ValidationError, where: object) -> ConfigError:
    problems = error.errors(include_url=False, include_input=True)
    # Unknown keys first: `nmae` says why there is no `name`.
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
        kinds = first["ctx"]["expected_tags"]
        return ConfigError(where, f"unknown source {first['ctx']['tag']!r}{more}", f"one of {kinds}")
    if first["type"] == "union_tag_not_found":
        return ConfigError(where, f"'data.source' is missing{more}", "say which source the data comes from")
    message = first["msg"][0].lower() + first["msg"][1:]
    return ConfigError(where, f"{key} = {first['input']!r}: {message}{more}"[:400], "change it")


def _locate(loc: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The dotted key of an error and the keys its table knows; drops the tag pydantic adds for a union."""
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
