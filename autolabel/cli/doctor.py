"""The command `doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from autolabel.cli.options import echo, json_option, print_json, work_folder, work_option
from autolabel.errors import ConfigError


@click.command()
@work_option
@json_option
def doctor(work: Path | None, as_json: bool) -> None:
    """Check this machine: Python, torch, device, cores, the work folder's disk, a self-test. No network."""
    from autolabel.cli.machine_checks import check_machine

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


COMMANDS = [doctor]
