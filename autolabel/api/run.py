"""`run` an experiment from Python: what `autolabel run` does, with the results as an object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autolabel.api.arguments import as_path
from autolabel.api.label_set import LabelSet
from autolabel.cli.options import RunOptions, load_project
from autolabel.cli.running import running
from autolabel.config.load import load_experiment
from autolabel.config.schema import Experiment, RuntimeConfig
from autolabel.errors import ConfigError, QualityGateFailed, SettingError
from autolabel.flow.summary import failed_gates, summarise
from autolabel.signals import StopFlag


@dataclass(frozen=True)
class RunResult:
    """The results of a run, made now or up to date already."""

    work: Path  # the work folder
    artefacts: Mapping[str, Path]  # step -> its artefact, which `load`, `LabelSet` and `Codes` open
    made: tuple[str, ...]  # the steps that were made now; the others were up to date
    bad_items: Mapping[str, int]  # step -> number of images that it went on without (data.max_bad)
    summary: Mapping[str, Any] = field(repr=False)  # as `autolabel run --json` prints it

    @property
    def teacher_miou(self) -> float | None:
        """mIoU of the teacher on the validation images; None where it is not measured."""
        return self.summary.get("teacher_miou")

    @property
    def student_miou(self) -> float | None:
        """mIoU of the student on the validation images; None where it is not measured."""
        return self.summary.get("student_miou")

    @property
    def labels(self) -> LabelSet | None:
        """The labels that the student learns from; None where none are made."""
        found = self.summary.get("labels")
        return None if found is None else LabelSet(Path(found["path"]).parent)

    @property
    def report(self) -> Path | None:
        """The report, an HTML file; None where there is none."""
        found = self.summary.get("report")
        return None if found is None else Path(found)


def run(
    experiment: Experiment | str | os.PathLike[str],
    *,
    until: str | None = None,
    work: str | os.PathLike[str] | None = None,
    device: str | None = None,
    jobs: int | None = None,
    allow_other_environment: bool = False,
    restart_other_environment: bool = False,
) -> RunResult:
    """Bring every step of an experiment up to date, or those that the step `until` needs. Nothing is printed.

    `experiment` is an Experiment or the path of an experiment file. Results lie in `work`, by default work/NAME in the
    current folder. `device` and `jobs` replace those of the table `runtime`. After an interruption (Ctrl-C) the same
    call goes on where it was. A step that was begun on other versions, device, threads or processes, and depends on
    them, goes on with `allow_other_environment`, and starts over with `restart_other_environment`.

    Raises QualityGateFailed if a quality gate of the experiment failed, and any other of `autolabel.errors`.
    """
    runtime = replace(
        _checked_runtime(device, jobs),
        allow_other_environment=allow_other_environment,
        restart_other_environment=restart_other_environment and not allow_other_environment,
    )
    folder = None if work is None else as_path(work, "work", "give the path of a folder")
    if not isinstance(until, str | None):
        raise ConfigError("until", f"is of type {type(until).__name__}", "give the name of a step")
    project = load_project(_experiment(experiment), folder)
    pipeline = project.pipeline
    targets = list(pipeline.nodes.values()) if until is None else pipeline.select(until)
    with running(project, runtime, StopFlag()) as runner:
        done = runner.run(pipeline, targets)
    artefacts = {step.node.name: step.artefact for step in done}
    if gates := failed_gates(pipeline, artefacts):
        raise QualityGateFailed("quality gate", gates[0], "train longer, or lower the gate")
    return RunResult(
        work=project.work,
        artefacts={name: artefact.path for name, artefact in artefacts.items()},
        made=tuple(step.node.name for step in done if not step.fresh),
        bad_items={name: n for name, made in artefacts.items() if (n := made.provenance.get("bad_items", 0))},
        summary=summarise(pipeline, artefacts),
    )


def _experiment(experiment: object) -> Experiment:
    if isinstance(experiment, Experiment):
        return experiment
    if isinstance(experiment, str | os.PathLike):
        return load_experiment(as_path(experiment, "experiment", "give the path of an experiment file"))
    what = f"is of type {type(experiment).__name__}"
    raise ConfigError("experiment", what, "give an autolabel.Experiment or the path of an experiment file")


def _checked_runtime(device: str | None, jobs: int | None) -> RunOptions:
    for name, value in (("device", device), ("jobs", jobs)):
        try:
            RuntimeConfig.model_validate({} if value is None else {name: value})
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise SettingError(name, f"{value!r}: {message[0].lower()}{message[1:]}") from error
    return RunOptions(device, jobs, quiet=True, verbose=False)
