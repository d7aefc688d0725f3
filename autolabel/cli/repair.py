"""`autolabel repair`: what `verify --full` finds is restored from copies, or set aside to be made again."""

from __future__ import annotations

from pathlib import Path

import click

from autolabel.cli.options import echo, experiment_options, json_option, open_project, print_json
from autolabel.flow.status import status
from autolabel.store import Repaired, hold_lock, require_mark
from autolabel.store import repair as repair_artefacts


@click.command()
@experiment_options
@json_option
def repair(experiment: Path, work: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Repair what `verify --full` finds in the work folder.

    A damaged file is restored if its committed bytes lie elsewhere in the folder. An artefact that stays damaged is set
    aside, not deleted; the next `run` makes it again. The last lines name the steps that will run.
    """
    project = open_project(experiment, work=work, overrides=overrides)
    done: list[Repaired] = []
    if project.work.is_dir():
        require_mark(project.work)
        with hold_lock(project.work / "lock"):
            done = list(repair_artefacts(project.work / "artefacts"))
    again = [step.name for step in status(project.pipeline, project.work) if step.state != "fresh"]
    if as_json:
        print_json({"artefacts": list(map(_row, done)), "to_run": again})
        return
    for item in done:
        for line in _lines(item):
            echo(line)
    aside = sum(item.aside is not None for item in done)
    echo(f"{len(done)} damaged artefact(s), {aside} set aside")
    if again:
        echo(f"`autolabel run` makes {', '.join(again)}")


def _row(item: Repaired) -> dict[str, object]:
    aside = None if item.aside is None else str(item.aside)
    found = {"artefact": str(item.item.path), "problems": list(item.problems), "restored": list(item.restored)}
    return {**found, "set_aside": aside, "unreadable": item.unreadable}


def _lines(item: Repaired) -> list[str]:
    lines = [f"{item.item.path}: {problem}" for problem in item.problems]
    lines += [f"{item.item.path}: {name}: restored" for name in item.restored]
    if item.aside is not None:
        lines.append(f"{item.item.path}: set aside as {item.aside.name}")
    if item.unreadable:
        lines.append(f"{item.item.path}: files that cannot be read are left as they are; check their permissions")
    return lines


COMMANDS = [repair]
