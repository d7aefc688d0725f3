"""Options that several commands share, and how a command prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from autolabel.cli.launch import launch
from autolabel.config.load import load_experiment
from autolabel.config.schema import MAX_JOBS, Experiment, RuntimeConfig, Scales
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.errors import ConfigError, printable
from autolabel.flow.graph import Node, Pipeline, load_pipeline
from autolabel.flow.runner import Launcher, Runner
from autolabel.progress import print_err
from autolabel.signals import StopFlag
from autolabel.store import hold_lock

F = TypeVar("F", bound=Callable[..., Any])
SCHEMA_VERSION = 1
MAX_SIDE = 32_768  # pixels
_SCALES: TypeAdapter[tuple[float, ...]] = TypeAdapter(Scales)

experiment_argument = click.argument("experiment", type=click.Path(path_type=Path))
work_option = click.option(
    "--work", type=click.Path(path_type=Path), help="Folder for all that is made; default: work/NAME here."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. teacher.epochs=3."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


def _device(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return value if value is None else RuntimeConfig(device=value).device
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no device; use auto, cpu, cuda or cuda:N") from error


device_option = click.option("--device", callback=_device, help="auto, cpu, cuda or cuda:N; overrides runtime.device.")
jobs_option = click.option(
    "--jobs", type=click.IntRange(0, MAX_JOBS), help="Worker threads or processes; 0 = all cores."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Also say on stderr what is up to date.")


def experiment_options(function: F) -> F:
    """EXPERIMENT, --work, --set: what every command on an experiment takes."""
    return experiment_argument(work_option(set_option(function)))


@dataclass(frozen=True)
class RunOptions:
    """Where and how fast a command runs and how much it says; never what it computes."""

    device: str | None
    jobs: int | None
    quiet: bool
    verbose: bool

    def runtime(self, runtime: RuntimeConfig) -> RuntimeConfig:
        """The experiment's, with what the command line overrides."""
        given = {key: value for key in ("device", "jobs") if (value := getattr(self, key)) is not None}
        return runtime.model_copy(update=given)

    def options(self) -> list[str]:
        """The same for a command that makes one step of many."""
        given = [f"--{key}={value}" for key in ("device", "jobs") if (value := getattr(self, key)) is not None]
        return given + ["--quiet"] * self.quiet


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """--device, --jobs, --quiet, --verbose, handed over as `how`. Stands next to the function."""

    @wraps(function)
    def gathered(*, device: str | None, jobs: int | None, quiet: bool, verbose: bool, **rest: Any) -> None:
        function(how=RunOptions(device, jobs, quiet, verbose), **rest)

    return device_option(jobs_option(quiet_option(verbose_option(gathered))))


@dataclass(frozen=True)
class Project:
    """An experiment, its pipeline, and the folder its artefacts lie in."""

    experiment: Experiment
    pipeline: Pipeline
    work: Path


def open_project(path: Path, *, work: Path | None, overrides: tuple[str, ...]) -> Project:
    """Everything is checked here, before any work begins."""
    experiment = load_experiment(path, overrides)
    return load_project(experiment, work)


def load_project(experiment: Experiment, work: Path | None) -> Project:
    folder = work_folder(work if work is not None else Path("work") / experiment.name)
    return Project(experiment, load_pipeline(experiment), folder)


def work_folder(path: Path) -> Path:
    """The absolute path, which need not exist yet; ConfigError where something else stands there, or above it."""
    folder = path.absolute()
    place = next(at for at in (folder, *folder.parents) if at.exists())
    if not place.is_dir():
        raise ConfigError(path if place == folder else place, "is not a folder", "give another --work")
    return folder


@dataclass(frozen=True)
class LaunchPlan:
    """The processes that `run` starts for a parallel step: how many, and what they are to do."""

    number: int
    arguments: Callable[[Node], list[str]]


@contextmanager
def running(
    project: Project,
    how: RunOptions,
    stop: StopFlag,
    *,
    world: ProcessGroup = SINGLE_PROCESS,
    ranks: LaunchPlan | None = None,
) -> Iterator[Runner]:
    """A runner that holds the work folder's lock, but for the time in which processes launched by it do."""
    lock_file = project.work / "lock"

    def silent(line: str) -> None:
        pass

    def launch_unlocked(node: Node) -> None:
        assert ranks is not None
        lock.close()
        launch(
            ranks.arguments(node),
            num_processes=ranks.number,
            step=node.name,
            memory_setting=node.stage.memory_setting,
            stop=stop,
        )
        lock.enter_context(hold_lock(lock_file))

    with ExitStack() as lock:
        lock.enter_context(hold_lock(lock_file))
        yield Runner(
            project.experiment,
            project.work,
            how.runtime(project.experiment.runtime),
            stop,
            say=silent if how.quiet else print_err,
            note=print_err if how.verbose and not how.quiet else silent,
            quiet=how.quiet,
            world=world,
            launcher=None if ranks is None else Launcher(ranks.number, launch_unlocked),
        )


def parse_scales(text: str) -> tuple[float, ...]:
    """The scales in "0.5,1.0,2.0", as an experiment may have them."""
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 0.5,1.0,2.0") from error
    try:
        return _SCALES.validate_python(scales)
    except ValidationError as error:
        raise click.BadParameter(f"{text!r}: distinct numbers up to 8, 1.0 among them") from error


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "1024x2048"."""
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdecimal() and part.isascii() and 0 < int(part) <= MAX_SIDE for part in parts):
        raise click.BadParameter(
            f"{text!r} is not of the form HEIGHTxWIDTH, e.g. 1024x2048, with sides up to {MAX_SIDE}"
        )
    return int(parts[0]), int(parts[1])


def echo(line: str) -> None:
    """A line on stdout, whatever names stand in it."""
    click.echo(printable(line))


def print_json(result: Mapping[str, Any]) -> None:
    """Exactly one object on stdout."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **result}, allow_nan=False, default=str))


def size(count: float) -> str:
    """Bytes for people, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"
