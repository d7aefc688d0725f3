"""Commands on a work folder: `status`, `verify`, `gc`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from autolabel.cli.options import echo, experiment_options, json_option, open_project, print_json, size
from autolabel.errors import CorruptArtefact, DataError
from autolabel.flow.input_check import InputCheck, check_inputs
from autolabel.flow.status import status as read_status
from autolabel.flow.status import unreferenced
from autolabel.store import Unreadable, delete, find_problems, hold_lock, require_mark, scan, set_aside


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
@click.option("--full", is_flag=True, help="Hash every byte; the default checks sizes and records only.")
@click.option("--inputs", is_flag=True, help="Also read all input files and compare them with the manifest.")
@click.option("--set-aside", "aside", is_flag=True, help="Rename damaged artefacts, so that `run` makes them again.")
@json_option
def verify(
    experiment: Path,
    work: Path | None,
    overrides: tuple[str, ...],
    full: bool,
    inputs: bool,
    aside: bool,
    as_json: bool,
) -> None:
    """Check every committed artefact in the work folder and name every damaged file."""
    project = open_project(experiment, work=work, overrides=overrides)
    with hold_lock(project.work / "lock") if aside and project.work.is_dir() else nullcontext():
        checked, problems = _damaged(project.work, full=full)
        damaged_paths = dict.fromkeys(path for path, problem in problems if not isinstance(problem, Unreadable))
        for path in damaged_paths if aside else ():
            set_aside(path)
    read = check_inputs(project.pipeline, project.experiment, project.work) if inputs else InputCheck(0, ())
    if as_json:
        damaged = [{"artefact": str(path), "problem": problem} for path, problem in problems]
        lines = [f"{path}: {problem}" for path, problem in problems]
        changed = [{"file": str(path), "problem": problem} for path, problem in read.problems]
        answer = {"inputs": read.files, "changed": changed} if inputs else {}
        print_json({"checked": checked, "problems": lines, "damaged": damaged, **answer})
    else:
        for path, problem in (*problems, *read.problems):
            echo(f"{path}: {problem}")
        echo(f"{checked} artefact(s) checked, {len(problems)} problem(s)")
        if inputs:
            echo(f"{read.files} input file(s) read, {len(read.problems)} changed")
    if problems:
        remedy = "run the experiment again" if aside else "set it aside with --set-aside, then run the experiment again"
        raise CorruptArtefact(project.work, f"{len(problems)} problem(s) found", remedy)
    if read.problems:
        remedy = "put them back, or run `autolabel manifest EXPERIMENT --rehash`"
        raise DataError(project.work, f"{len(read.problems)} input file(s) differ from the manifest", remedy)


def _damaged(work: Path, *, full: bool) -> tuple[int, list[tuple[Path, str]]]:
    """The number of artefacts, and each problem with its artefact."""
    paths = [found.path for found in scan(work / "artefacts") if found.kind == "committed"]
    return len(paths), [(path, problem) for path in paths for problem in find_problems(path, full=full)]


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


COMMANDS = [status, verify, gc]
