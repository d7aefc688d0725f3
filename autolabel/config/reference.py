"""The JSON schema of an experiment file, with the text of every setting: for editors and for docs/settings.md.

The text of a setting is the comment behind or above it in the source, that of a table its docstring. Comments keep the
declarations readable, and they are read here only, never on the way of a run.
"""

from __future__ import annotations

import ast
import inspect
import io
import sys
import tokenize
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from autolabel.config.base import Config
from autolabel.config.schema import Experiment


def experiment_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of an experiment file; every property has a `description`."""
    schema = Experiment.model_json_schema()
    definitions = schema.get("$defs", {})
    for model in tables():
        target = schema if model is Experiment else definitions.get(model.__name__)
        if target is None:
            continue  # a base class
        texts = field_texts(model)
        for name, field in target["properties"].items():
            _tidy(field)
            if name in texts:
                field["description"] = texts[name]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _tidy(field: dict[str, Any]) -> None:
    """Leave out what says nothing to a person: titles, the largest integer, and defaults of whole tables."""
    for part in (field, *field.get("anyOf", ()), *field.get("prefixItems", ())):
        part.pop("title", None)
        if part.get("exclusiveMaximum") == 2**63:
            del part["exclusiveMaximum"]
    for option in field.get("anyOf", ()):
        _tidy(option)
    if "$ref" in field:
        field.pop("default", None)
    if "const" in field:
        field["description"] = "How the data is laid out."


def tables() -> list[type[BaseModel]]:
    """Every settings table of an experiment, the whole file first."""
    found: list[type[BaseModel]] = []
    todo: list[Any] = [Experiment]
    while todo:
        annotation = todo.pop(0)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation not in found:
                found.append(annotation)
                todo += [field.annotation for field in annotation.model_fields.values()]
        else:
            todo += get_args(annotation)
    return found


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """Text of each setting of a table, also of those it inherits; a setting without a comment is left out.

    A setting that holds a table has the text of that table.
    """
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Config) and base is not Config:
            texts |= _comments(base)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and name not in texts:
            texts[name] = inspect.cleandoc(field.annotation.__doc__ or "").partition("\n\n")[0]
    return texts


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """The comments of the settings that the class itself declares."""
    source = inspect.getsource(sys.modules[model.__module__])
    lines = source.splitlines()
    comments = dict(_comment_lines(source))
    texts = {}
    for node in _class_node(source, model.__name__).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own = [comments[n] for n in range(node.lineno, (node.end_lineno or node.lineno) + 1) if n in comments]
            first = node.lineno
            while first - 1 in comments and lines[first - 2].lstrip().startswith("#"):
                first -= 1
            parts = [comments[n] for n in range(first, node.lineno)] + own
            if parts:
                texts[node.target.id] = " ".join(parts)
    return texts


def _comment_lines(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#").strip()


def _class_node(source: str, name: str) -> ast.ClassDef:
    return next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name)
