"""Command `open`: show the report of an experiment."""

from __future__ import annotations

from pathlib import Path

import click

from autolabel.artifacts import REPORT_PAGE, TABLE_PAGE
from autolabel.cli.options import echo, experiment_options, open_project
from autolabel.errors import ConfigError
from autolabel.flow.status import status

_PAGES = {"report": REPORT_PAGE, "table": TABLE_PAGE}  # by stage


@click.command(name="open")
@experiment_options
@click.option("--print", "only_print", is_flag=True, help="Print the path of the page; open nothing.")
def open_report(experiment: Path, work: Path | None, overrides: tuple[str, ...], only_print: bool) -> None:
    """Open the report of EXPERIMENT (pipeline `fusions`: its table) in the browser, and print its path."""
    project = open_project(experiment, work=work, overrides=overrides)
    for step in status(project.pipeline, project.work):
        if step.stage in _PAGES and step.state == "fresh" and step.path is not None:
            page = step.path / "data" / _PAGES[step.stage]
            echo(str(page))
            if not only_print:
                click.launch(page.as_uri())
            return
    raise ConfigError(project.work, "holds no report of these settings", f"run `autolabel run {experiment}` first")


COMMANDS = [open_report]
