"""Change one setting in the text of an experiment file and leave every other character as it is."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping

from autolabel.errors import ConfigError

_HEADER = re.compile(r"^[ \t]*\[[ \t]*label[ \t]*\][ \t]*(#.*)?$", re.MULTILINE)
_KEY = re.compile(r"^([ \t]*)class_thresholds[ \t]*=[ \t]*\{[^\n]*\}([ \t]*(?:#[^\n]*)?)$", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def with_class_thresholds(text: str, values: Mapping[str, float], where: object) -> str:
    """The text with these thresholds in `label.class_thresholds`, beside those of other classes.

    The result is parsed and compared with the wanted settings: where it would say anything else, the file is of a form
    that is not understood here, and ConfigError names the line to write by hand.
    """
    wanted = tomllib.loads(text)
    label = wanted.setdefault("label", {})
    merged = {**label.get("class_thresholds", {}), **values}
    label["class_thresholds"] = merged
    line = f"class_thresholds = {_inline(merged)}"
    edited = _edited(text, line)
    try:
        same = tomllib.loads(edited) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ConfigError(
            where, "its table label is written in a form that this command does not edit", f"write {line}"
        )
    return edited


def _edited(text: str, line: str) -> str:
    header = _HEADER.search(text)
    if header is None:
        return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}\n[label]\n{line}\n"
    end = _TABLE.search(text, header.end())
    stop = end.start() if end else len(text)
    table = text[header.end() : stop]
    if _KEY.search(table):
        table = _KEY.sub(lambda found: f"{found[1]}{line}{found[2]}", table, count=1)
    else:
        table = f"\n{line}{table}" if table else f"\n{line}\n"
    return text[: header.end()] + table + text[stop:]


def _inline(values: Mapping[str, float]) -> str:
    names = (f"{_name(name)} = {value!r}" for name, value in values.items())
    return "{ " + ", ".join(names) + " }"


def _name(name: str) -> str:
    quoted = json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted
