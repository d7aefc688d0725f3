"""Commands to begin with: `demo` and `doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from autolabel.cli.options import (
    RunOptions,
    echo,
    json_option,
    load_project,
    print_json,
    run_options,
    set_option,
    work_folder,
    work_option,
)
from autolabel.cli.run import run_project
from autolabel.config.load import parse_experiment
from autolabel.errors import ConfigError
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


@click.command()
@work_option
@json_option
def doctor(work: Path | None, as_json: bool) -> None:
    """Check this machine: Python, torch, device, cores, the work folder's disk, a self-test. No network."""
    from autolabel.cli.doctor import check_machine

    checks = check_machine(work_folder(work or Path("work")))
    if as_json:
        print_json({"checks": [vars(check) for check in checks]})
    else:
        for check in checks:
            echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:12} {check.found}")
            if not check.ok:
                echo(f"{'':4}  {'':12} {check.remedy}")
    failed = [check for check in checks if not check.ok]
    if failed:
        raise ConfigError(failed[0].name, failed[0].found, failed[0].remedy)


COMMANDS = [demo, doctor]
