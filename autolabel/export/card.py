"""The card of an exported network: a README for the user of the folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from autolabel.errors import printable
from autolabel.models.pretrained import origin

_HERE = Path(__file__).parent
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#|~])")


def render_card(config: Mapping[str, Any]) -> bytes:
    """The card as UTF-8 Markdown, from the content of config.json."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=False,  # Markdown, not HTML: names go through `plain`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = _plain
    return environment.get_template("card.md.j2").render(config, origin=origin(config["trained"])).encode()


def _plain(value: object) -> str:
    """The text on one line, with all Markdown characters escaped."""
    return _MARKDOWN.sub(r"\\\1", printable(str(value)))
