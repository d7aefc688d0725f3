"""Commands on a work folder: `status` and `gc`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from autolabel.cli.options import echo, experiment_options, json_option, open_project, print_json, size
from autolabel.flow.status import status as read_status
from autolabel.flow.status import unreferenced
from autolabel.store import delete, hold_lock, require_mark


@click.command()
@experiment_options
@click.option("--why", is_flag=True, help="Also name the key that differs.")
@json_option
def status(experiment: Path, work: Path | None, overrides: tuple[str, ...], why: bool, as_json: bool) -> None:
    """Show which steps of EXPERIMENT are up to date."""
    project = open_project(experiment, work=work, overrides=overrides)
    steps = read_status(project.pipeline, project.work)
    if as_json:
        rows = [
            {
                "name": s.name,
                "stage": s.stage,
                "state": s.state,
                "path": None if s.path is None else str(s.path),
                "digest": s.digest,
                "why": list(s.why),
                "bad_items": s.bad_items,
            }
            for s in steps
        ]
        print_json({"name": project.experiment.name, "work": str(project.work), "stages": rows})
        return
    for s in steps:
        echo(f"{s.name:22} {s.state:8} {s.path or ''}".rstrip())
        if s.bad_items:
            click.echo(f"{'':22} without {s.bad_items} item(s) in quarantine: see data/quarantine.json there")
        for reason in s.why if why else ():
            echo(f"{'':22} because {reason}")


@click.command()
@experiment_options
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@json_option
def gc(experiment: Path, work: Path | None, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Delete what EXPERIMENT no longer refers to."""
    project = open_project(experiment, work=work, overrides=overrides)
    if not dry_run and project.work.is_dir():
        require_mark(project.work)
    with hold_lock(project.work / "lock") if project.work.is_dir() and not dry_run else nullcontext():
        items = unreferenced(project.pipeline, project.work)
        sizes = {item.path: item.num_bytes() for item in items}
        total = sum(sizes.values())
        for item in items if not dry_run else []:
            delete(item.path)
    if as_json:
        print_json({"deleted": [str(item.path) for item in items], "bytes": total, "dry_run": dry_run})
        return
    for item in items:
        echo(f"{item.kind:9} {size(sizes[item.path]):>9}  {item.path}")
    echo(f"{len(items)} item(s), {size(total)} {'would be deleted' if dry_run else 'deleted'}")


COMMANDS = [status, gc]
