"""Renders the report: one self-contained HTML file without scripts.

`ReportData` (see `autolabel.report.data`) is its content; sections without data are left out. The same data gives the
same bytes: no clock, no random ids.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from autolabel.report.data import ReportData
from autolabel.report.images import VERDICT_COLOURS
from autolabel.report.sections import SECTIONS
from autolabel.report.summary import headline, story
from autolabel.report.svg import css_colour
from autolabel.report.text import clean

_HERE = Path(__file__).parent


def render_report(data: ReportData) -> bytes:
    """The HTML file as UTF-8; every name in `data` is escaped."""
    assert len(data.names) == len(data.palette), f"{len(data.names)} names, {len(data.palette)} colours"
    page = (
        _environment()
        .get_template("template.html.j2")
        .render(
            title=data.title,
            subtitle=data.subtitle,
            style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
            tiles=headline(data),
            story=story(data),
            warnings=data.warnings,
            sections={name: section for name, build in SECTIONS.items() if (section := build(data)) is not None},
            verdict={name: css_colour(colour) for name, colour in VERDICT_COLOURS.items()},
        )
    )
    return page.encode("utf-8")


@cache  # with the templates that it has compiled
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_final,
    )


def _final(value: object) -> object:
    """Spell out invisible characters in all text except our own markup."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
