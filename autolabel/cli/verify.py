"""`autolabel verify`: committed artefacts against their records, inputs against the manifest."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import click

from autolabel.cli.options import echo, experiment_options, json_option, open_project, print_json
from autolabel.errors import CorruptArtefact, DataError, StoreError
from autolabel.flow.input_check import InputCheck, check_inputs
from autolabel.store import Artefact, Unreadable, find_problems, hold_lock, scan, set_aside


def _fraction(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """The fraction that "5%" names."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,3}([.][0-9]{1,6})?%?", text) or not 0 < float(text.removesuffix("%")) <= 100:
        raise click.BadParameter(f"{text!r} is no percentage above 0 and up to 100, such as 5%")
    return float(text.removesuffix("%")) / 100


@click.command()
@experiment_options
@click.option("--full", is_flag=True, help="Hash every byte; the default checks sizes and records only.")
@click.option(
    "--sample", "fraction", callback=_fraction, metavar="PERCENT", help="Hash a random part of the files, e.g. 5%."
)
@click.option("--inputs", is_flag=True, help="Also read all input files and compare them with the manifest.")
@click.option("--set-aside", "aside", is_flag=True, help="Rename damaged artefacts, so that `run` makes them again.")
@json_option
def verify(
    experiment: Path,
    work: Path | None,
    overrides: tuple[str, ...],
    full: bool,
    fraction: float | None,
    inputs: bool,
    aside: bool,
    as_json: bool,
) -> None:
    """Check every committed artefact in the work folder and name every damaged file.

    With --sample, each call hashes another random part of the files, at least one: for regular checks at a small cost.
    """
    if full and fraction is not None:
        raise click.UsageError("--full hashes every file, --sample some of them: give one of them")
    project = open_project(experiment, work=work, overrides=overrides)
    with hold_lock(project.work / "lock") if aside and project.work.is_dir() else nullcontext():
        checked, problems, hashed = _damaged(project.work, 1.0 if full else fraction or 0.0)
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
        some = f" ({hashed} of their files read)" if fraction is not None else ""
        echo(f"{checked} artefact(s) checked{some}, {len(problems)} problem(s)")
        if inputs:
            echo(f"{read.files} input file(s) read, {len(read.problems)} changed")
    if problems:
        remedy = (
            "run the experiment again"
            if aside
            else "run `autolabel repair EXPERIMENT`, or set it aside with --set-aside"
        )
        raise CorruptArtefact(project.work, f"{len(problems)} problem(s) found", remedy)
    if read.problems:
        remedy = "put them back, or run `autolabel manifest EXPERIMENT --rehash`"
        raise DataError(project.work, f"{len(read.problems)} input file(s) differ from the manifest", remedy)


def _damaged(work: Path, fraction: float) -> tuple[int, list[tuple[Path, str]], int]:
    """The number of artefacts, each problem with its artefact, and the number of files to hash: a random part."""
    paths = [found.path for found in scan(work / "artefacts") if found.kind == "committed"]
    chosen = None if fraction in (0.0, 1.0) else _sampled(paths, fraction)
    problems = []
    for path in paths:
        names = None if chosen is None else chosen.get(path, frozenset())
        problems += [(path, problem) for problem in find_problems(path, full=fraction > 0, names=names)]
    return len(paths), problems, sum(map(len, (chosen or {}).values()))


def _sampled(paths: Sequence[Path], fraction: float) -> dict[Path, frozenset[str]]:
    """Names of a random part of all files, by artefact. Other files each time: this is no part of any result."""
    files = []
    for path in paths:
        with suppress(StoreError):  # its records are damaged, which is reported all the same
            files += [(path, entry.name) for entry in Artefact.open(path).entries]
    number = min(len(files), max(1, round(fraction * len(files))))
    found: dict[Path, set[str]] = {}
    for path, name in random.SystemRandom().sample(files, number):
        found.setdefault(path, set()).add(name)
    return {path: frozenset(names) for path, names in found.items()}


COMMANDS = [verify]
