"""Markdown pages from templates: no name can change their structure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.errors import printable

if TYPE_CHECKING:
    import jinja2

_SPECIAL = str.maketrans({character: "\\" + character for character in "\\`*_{}[]()<>#|~"})


def plain(value: object) -> str:
    """The text on one line, with all Markdown characters escaped."""
    return printable(str(value)).translate(_SPECIAL)


def markdown_environment(folder: Path) -> jinja2.Environment:
    """The environment of the templates in a folder, with the filter `plain`; an undefined name is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=False,  # Markdown, not HTML: names go through `plain`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    return environment
