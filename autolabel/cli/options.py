"""Options that several commands share, and the functions that print results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from autolabel.config.base import Scales
from autolabel.config.load import load_experiment
from autolabel.config.schema import MAX_JOBS, Experiment, RuntimeConfig
from autolabel.errors import ConfigError, printable
from autolabel.flow.graph import Pipeline, load_pipeline
from autolabel.hardware import DEVICES_REMEDY

F = TypeVar("F", bound=Callable[..., Any])
SCHEMA_VERSION = 1
MAX_SIDE = 32_768  # pixels
_SCALES: TypeAdapter[tuple[float, ...]] = TypeAdapter(Scales)

experiment_argument = click.argument("experiment", type=click.Path(path_type=Path))
work_option = click.option(
    "--work", type=click.Path(path_type=Path), help="Folder for all results; default: work/NAME in this folder."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. teacher.epochs=3."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


def _device(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return value if value is None else RuntimeConfig(device=value).device
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no device; {DEVICES_REMEDY}") from error


device_option = click.option(
    "--device", callback=_device, help="auto, cpu, cuda, cuda:N or mps; overrides runtime.device."
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(0, MAX_JOBS), help="Worker threads or processes; 0 = all cores."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace files in --out that this command did not write, or that were changed."
)
environment_option = click.option(
    "--allow-other-environment",
    is_flag=True,
    help="Go on with a step that was begun on other versions, device, threads or processes, and depends on them.",
)
restart_option = click.option(
    "--restart-other-environment",
    is_flag=True,
    help="Start such a step over instead: what it has made so far is deleted.",
)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Also say on stderr what is up to date.")


def experiment_options(function: F) -> F:
    """EXPERIMENT, --work and --set, for every command on an experiment."""
    return experiment_argument(work_option(set_option(function)))


@dataclass(frozen=True)
class RunOptions:
    """Where and how fast a command runs, and how much it prints; never what it computes."""

    device: str | None
    jobs: int | None
    quiet: bool
    verbose: bool
    allow_other_environment: bool = False
    restart_other_environment: bool = False

    def runtime(self, runtime: RuntimeConfig) -> RuntimeConfig:
        """The experiment's runtime settings with those of the command line on top."""
        overrides = {key: value for key in ("device", "jobs") if (value := getattr(self, key)) is not None}
        return runtime.model_copy(update=overrides)

    def options(self) -> list[str]:
        """The same as options, for a command that runs one of many steps."""
        options = [f"--{key}={value}" for key in ("device", "jobs") if (value := getattr(self, key)) is not None]
        for flag in ("quiet", "allow_other_environment", "restart_other_environment"):
            options += [f"--{flag.replace('_', '-')}"] * getattr(self, flag)
        return options


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `RunOptions`, passed as `how`. It must be the innermost decorator."""

    @wraps(function)
    def gathered(
        *,
        device: str | None,
        jobs: int | None,
        quiet: bool,
        verbose: bool,
        allow_other_environment: bool,
        restart_other_environment: bool,
        **rest: Any,
    ) -> None:
        if allow_other_environment and restart_other_environment:
            raise click.UsageError("--allow-other-environment and --restart-other-environment exclude each other")
        how = RunOptions(device, jobs, quiet, verbose, allow_other_environment, restart_other_environment)
        function(how=how, **rest)

    return device_option(jobs_option(quiet_option(verbose_option(environment_option(restart_option(gathered))))))


@dataclass(frozen=True)
class Project:
    """An experiment, its pipeline, and the folder of its artefacts."""

    experiment: Experiment
    pipeline: Pipeline
    work: Path
    arguments: tuple[str, ...] | None = None  # that name it in other commands; None: no file does


def open_project(path: Path, *, work: Path | None, overrides: tuple[str, ...]) -> Project:
    """Read and check everything before any work begins."""
    experiment = load_experiment(path, overrides)
    options = [] if work is None else ["--work", str(work)]
    arguments = (str(path), *options, *(part for override in overrides for part in ("--set", override)))
    return replace(load_project(experiment, work), arguments=arguments)


def load_project(experiment: Experiment, work: Path | None) -> Project:
    folder = work_folder(work if work is not None else Path("work") / experiment.name)
    return Project(experiment, load_pipeline(experiment), folder)


def work_folder(path: Path) -> Path:
    """The absolute path, which need not exist yet. Raises ConfigError if it, or a parent of it, is no folder."""
    folder = path.absolute()
    place = next(at for at in (folder, *folder.parents) if at.exists())
    if not place.is_dir():
        raise ConfigError(path if place == folder else place, "is not a folder", "give another --work")
    return folder


def parse_scales(text: str) -> tuple[float, ...]:
    """Parse "0.5,1.0,2.0" with the checks of an experiment's scales."""
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 0.5,1.0,2.0") from error
    try:
        return _SCALES.validate_python(scales)
    except ValidationError as error:
        raise click.BadParameter(f"{text!r}: distinct numbers from 0.05 to 8, 1.0 among them") from error


def parse_size(text: str) -> tuple[int, int]:
    """Parse "1024x2048" to (height, width)."""
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdecimal() and part.isascii() and 0 < int(part) <= MAX_SIDE for part in parts):
        raise click.BadParameter(
            f"{text!r} is not of the form HEIGHTxWIDTH, e.g. 1024x2048, with sides up to {MAX_SIDE}"
        )
    return int(parts[0]), int(parts[1])


def echo(line: str) -> None:
    """Print a line on stdout; names in it are escaped."""
    click.echo(printable(line))


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **result}, allow_nan=False, default=str))


def size(count: float) -> str:
    """A number of bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"
