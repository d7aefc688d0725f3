"""Writes the pages of this folder that are made from the code: settings.md and reference/commands.md.

Run it with `make reference`; tests/test_documentation.py fails while a page is stale.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from autolabel.cli.main import cli
from autolabel.config.base import Config
from autolabel.config.reference import experiment_schema

DOCS = Path(__file__).resolve().parent
_INTRODUCTION = """\
An experiment is one TOML file. Unknown keys and wrong types are errors, and nothing is inherited from another file.
Every table except `[runtime]` enters the stage keys: a changed setting runs the steps that depend on it again.
`autolabel init` writes a file that fits your data. `--set TABLE.KEY=VALUE` changes a setting for one command.

Editors check and complete settings with a JSON schema: `autolabel schema > autolabel.schema.json`, and
`#:schema autolabel.schema.json` as the first line of the experiment file.
"""
_MADE = "<!-- Made by docs/generate.py from {source}: change it there, then `make reference`. -->\n"


def settings_page() -> str:
    """Every setting of an experiment file: type, default and text."""
    schema = experiment_schema()
    tables = schema["$defs"]
    lines = [
        "# Settings",
        _MADE.format(source="autolabel/config"),
        _INTRODUCTION,
        "## At the top",
        "",
        *_rows(schema, only_values=True),
        "",
    ]
    for name, field in schema["properties"].items():
        if "oneOf" in field:
            lines += _data_sections(field, tables)
        elif "$ref" in field and name != "student":
            lines += _sections(name, tables[_target(field)], tables)
        elif name == "student":
            lines += _student_section(tables[_target(field)], tables[_target(schema["properties"]["teacher"])], tables)
    return "\n".join(lines).rstrip() + "\n"


def _data_sections(field: dict[str, Any], tables: dict[str, Any]) -> list[str]:
    sources = [tables[option["$ref"].rpartition("/")[2]] for option in field["oneOf"]]
    shared = set.intersection(*(set(table["properties"]) for table in sources)) - {"source"}
    lines = ["## [data]", "", _paragraph(field["description"]), "", *_rows(sources[0], shared), ""]
    for table in sources:
        kind = table["properties"]["source"]["const"]
        own = set(table["properties"]) - shared - {"source"}
        lines += [f'### [data] source = "{kind}"', "", _paragraph(table["description"]), "", *_rows(table, own), ""]
    return lines


def _sections(name: str, table: dict[str, Any], tables: dict[str, Any]) -> list[str]:
    lines = [f"## [{name}]", "", _paragraph(table["description"]), ""]
    if name == "teacher":
        lines[2] = "Training of the teacher. The table `[student]` has the same settings, except `labels`."
    return [*lines, *_rows(table), "", *_inner_tables(name, table["properties"], tables)]


def _inner_tables(name: str, fields: dict[str, Any], tables: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, field in fields.items():
        rows = "items" in field  # a list of tables
        inner = field["items"] if rows else field
        if "$ref" in inner or any("$ref" in option for option in inner.get("anyOf", ())):
            below = tables[_target(inner)]
            title = f"{name}.{key}" if rows else f"[{name}.{key}]"
            lines += [f"### {title}", "", _paragraph(below["description"]), "", *_rows(below), ""]
    return lines


def _student_section(student: dict[str, Any], teacher: dict[str, Any], tables: dict[str, Any]) -> list[str]:
    """Its own settings, and the teacher's settings that take other values here."""
    own = {key for key, field in student["properties"].items() if teacher["properties"].get(key) != field}
    fields = {key: field for key, field in student["properties"].items() if key in own}
    text = "Training of the student: the settings of `[teacher]`, and:"
    return ["## [student]", "", text, "", *_rows(student, own), "", *_inner_tables("student", fields, tables)]


def _rows(table: dict[str, Any], only: set[str] | None = None, *, only_values: bool = False) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, field in table["properties"].items():
        is_table = "$ref" in field or "oneOf" in field
        if (only is None or key in only) and not (only_values and is_table):
            default = "" if is_table else _default(key, field, table)
            yield f"| `{key}` | {_cell(_type(field))} | {default} | {_cell(field.get('description', ''))} |"


def _default(key: str, field: dict[str, Any], table: dict[str, Any]) -> str:
    if key in table.get("required", ()):
        return "required"
    value = field.get("default", {})
    return "none" if value is None else f"`{_cell(json.dumps(value))}`"


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"] if option.get("type") != "null")
    if "$ref" in field:
        return "table"
    if "const" in field or "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field.get("enum", [field.get("const")]))
    if field["type"] == "array" and "prefixItems" in field:
        return f"list of {len(field['prefixItems'])}: {_type(field['prefixItems'][0])}"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if field["type"] == "object":
        return f"table of {_type(field['additionalProperties'])}"
    names = {"integer": "integer", "number": "number", "boolean": "`true` or `false`"}
    text = names.get(field["type"], "path" if field.get("format") == "path" else "text")
    return text + _bounds(field)


def _bounds(field: dict[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return "".join(f" {words[name]} {field[name]:g}" for name in words if name in field)


def _target(field: dict[str, Any]) -> str:
    options = [field, *field.get("anyOf", ())]  # a table that may be left out is one option of two
    return next(str(option["$ref"]).rpartition("/")[2] for option in options if "$ref" in option)


def _paragraph(text: str) -> str:
    own = inspect.cleandoc(text) != inspect.cleandoc(Config.__doc__ or "")
    return " ".join(text.split()) if own else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def commands_page() -> str:
    """Every command with its arguments and options, as `--help` has them."""
    lines = ["# Command reference", _MADE.format(source="the help of the commands")]
    lines += ["[Commands](../commands.md) explains how they work together, and the exit codes.", ""]
    for path, command in _commands(cli, "autolabel"):
        context = click.Context(command, info_name=path)
        usage = " ".join(command.get_usage(context).split()).removeprefix("Usage: ")
        lines += [f"## {path}", "", f"`{usage}`", "", _help(command), ""]
        records = (param.get_help_record(context) for param in command.params)
        options = [record for record in records if record is not None and record[1]]
        if options:
            rows = [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in options]
            lines += ["| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix} {name}")
        elif not command.hidden:
            yield f"{prefix} {name}", command


def _help(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


PAGES = {"settings.md": settings_page, "reference/commands.md": commands_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
