"""The command `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from autolabel.cli.options import (
    RunOptions,
    json_option,
    load_project,
    run_options,
    set_option,
    work_option,
)
from autolabel.cli.run import run_project
from autolabel.config.load import parse_experiment
from autolabel.resources import resource


@click.command()
@work_option
@set_option
@json_option
@run_options
def demo(work: Path | None, overrides: tuple[str, ...], as_json: bool, how: RunOptions) -> None:
    """Run the whole pipeline on synthetic street scenes, in minutes on a CPU."""
    raw = resource("configs", "demo.toml")
    experiment = parse_experiment(raw, where="demo.toml", base=Path(), overrides=overrides)
    run_project(load_project(experiment, work), how, until=None, as_json=as_json)


COMMANDS = [demo]
