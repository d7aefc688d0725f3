"""The card of an exported network: a README for the user of the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autolabel.markdown import markdown_environment
from autolabel.models.pretrained import origin

_HERE = Path(__file__).parent


def render_card(config: Mapping[str, Any]) -> bytes:
    """The card as UTF-8 Markdown, from the content of config.json."""
    template = markdown_environment(_HERE).get_template("card.md.j2")
    return template.render(config, origin=origin(config["trained"])).encode()
