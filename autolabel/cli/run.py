"""Commands that make artefacts: `run`, and one command per stage."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from autolabel.cli.options import (
    Project,
    RunOptions,
    echo,
    experiment_options,
    json_option,
    open_project,
    print_json,
    run_options,
    size,
)
from autolabel.cli.running import LaunchPlan, running
from autolabel.config.schema import MAX_JOBS
from autolabel.distributed import ProcessGroup, from_env, init
from autolabel.errors import ConfigError, ItemsFailed, QualityGateFailed
from autolabel.flow.disk_space import estimates
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.preflight import preflight
from autolabel.flow.runner import StepResult
from autolabel.flow.stage import DiskEstimate
from autolabel.flow.status import StepStatus, status
from autolabel.flow.summary import TimedRow, failed_gates, summarise
from autolabel.flow.worker import run_worker
from autolabel.signals import catch_signals
from autolabel.stages.table import HEADER, cells, remarks
from autolabel.store import Artefact


@click.command()
@experiment_options
@click.option("--until", metavar="STEP", help="Stop after this step (or stage).")
@click.option("--dry-run", is_flag=True, help="Say what would run and why; make nothing.")
@click.option("--nproc", type=click.IntRange(1, MAX_JOBS), default=1, help="Processes that share a step: one a GPU.")
@json_option
@run_options
def run(
    experiment: Path,
    work: Path | None,
    overrides: tuple[str, ...],
    until: str | None,
    dry_run: bool,
    nproc: int,
    as_json: bool,
    how: RunOptions,
) -> None:
    """Bring every step of EXPERIMENT up to date, from data to report."""
    project = open_project(experiment, work=work, overrides=overrides)
    ranks = _ranks(nproc, experiment, project, overrides, how) if nproc > 1 else None
    if dry_run:
        print_plan(project, until, num_processes=nproc, as_json=as_json)
        return
    run_project(project, how, until=until, as_json=as_json, ranks=ranks)


def _ranks(number: int, experiment: Path, project: Project, overrides: tuple[str, ...], how: RunOptions) -> LaunchPlan:
    """Raise ConfigError if this machine cannot run so many processes."""
    ProcessGroup(number - 1, number, number - 1, number).runtime_for_rank(how.runtime(project.experiment.runtime))
    options = [f"--work={project.work}", *(f"--set={override}" for override in overrides), *how.options()]
    return LaunchPlan(number, lambda node: [node.stage.name, f"--only={node.name}", *options, "--", str(experiment)])


def run_project(
    project: Project, how: RunOptions, *, until: str | None, as_json: bool, ranks: LaunchPlan | None = None
) -> None:
    """Run, print the result, and end with its exit code."""
    pipeline = project.pipeline
    targets = pipeline.select(until) if until else list(pipeline.nodes.values())
    with catch_signals() as stop, init(stop) as world:
        if world.size > 1:
            raise ConfigError("torchrun", "can start one stage, not a run", "use `autolabel run --nproc N`")
        with running(project, how, stop, ranks=ranks) as runner:
            done = runner.run(pipeline, targets)
    finish(project, done, as_json=as_json)


def finish(project: Project, done: list[StepResult], *, as_json: bool) -> None:
    """Print the results; raise if a quality gate failed or items were quarantined."""
    artefacts = {item.node.name: item.artefact for item in done}
    summary = summarise(project.pipeline, artefacts)
    made = [item.node.name for item in done if not item.fresh]
    if as_json:
        print_json({"name": project.experiment.name, "work": str(project.work), "made": made, **summary})
    else:
        print_summary(summary, made)
        for line in next_commands(project, artefacts):
            echo(f"{'next':14} {line}")
    gates = failed_gates(project.pipeline, artefacts)
    if gates:
        raise QualityGateFailed("quality gate", gates[0], "train longer, or lower the gate")
    bad = {name: count for name, a in artefacts.items() if (count := a.provenance.get("bad_items", 0))}
    if bad:
        name, count = next(iter(bad.items()))
        remedy = f"see {artefacts[name].data / 'quarantine.json'}"
        raise ItemsFailed(name, f"finished, but {count} item(s) could not be used", remedy)


def print_summary(summary: dict[str, Any], made: list[str]) -> None:
    if not made:
        echo("Everything is up to date: no work was done.")
    for role in ("teacher", "student"):
        if f"{role}_miou" in summary:
            miou = summary[f"{role}_miou"]
            echo(f"{role + ' mIoU':14} {_figure(miou)}{_ends(miou, summary.get(f'{role}_interval'))}")
    for name, miou in summary.get("students", {}).items():
        echo(f"  {name:22} {_figure(miou)}{_ends(miou, summary['student_intervals'][name])}")
    if "labels" in summary:
        labels = summary["labels"]
        each = labels["bytes"] / max(labels["count"], 1)
        echo(
            f"{'labels':14} {labels['count']} PNG, {size(labels['bytes'])} ({size(each)} each),"
            f" {100 * labels['ignored_share']:.1f} % ignored"
        )
        print_quality(labels)
        echo(f"{'':14} {labels['path']}")
    if "corrected" in summary:
        corrected = summary["corrected"]
        echo(
            f"{'corrected':14} {corrected['pixels']:,} pixels of {corrected['images']} labels, set by people;"
            " students learn from these labels"
        )
        echo(f"{'':14} {corrected['path']}")
    for name, change in summary.get("changes", {}).items():
        same, before, after = (_share(change[key]) for key in ("same", "coverage_before", "coverage_after"))
        echo(f"{name:14} {same} of the pixels as in the round before; labelled {before} -> {after}")
    if "table" in summary:
        print_table(summary["table"]["rows"])
        echo(f"{'table':14} {summary['table']['path']}")
    if "report" in summary:
        echo(f"{'report':14} {summary['report']}")
    for line in summary.get("advice", ()):
        echo(f"{'note':14} {line}")


def next_commands(project: Project, artefacts: Mapping[str, Artefact]) -> list[str]:
    """The commands to go on with, ready for a shell."""
    done = {node.stage.name for node in project.pipeline.nodes.values() if node.name in artefacts}
    commands: list[list[str]] = []
    labels = [artefacts[node.name] for node in project.pipeline.of_stage("label") if node.name in artefacts]
    is_whole = bool(done & {"report", "table"})
    if labels and not is_whole and not getattr(project.experiment.data, "needs_masks", True):
        commands.append(["export", "labels", str(labels[-1].path), "--format", "coco", "--out", "export"])
    elif project.arguments is not None:
        file, *options = project.arguments
        commands += [["open", file, *options]] if is_whole else [["run", file, *options]]
    network = next((artefacts[node.name] for node in _networks(project.pipeline) if node.name in artefacts), None)
    if network is not None and is_whole:
        evaluate = project.experiment.evaluate  # the settings of the mIoU that stands above this line
        scales = ["--scales", ",".join(map(str, evaluate.scales)), *(["--flip"] if evaluate.flip else [])]
        commands.append(["predict", "--teacher", str(network.path), "NEW_IMAGES", "--out", "new-labels", *scales])
    return [shlex.join(["autolabel", *command]) for command in commands]


def _networks(pipeline: Pipeline) -> list[Node]:
    """The network of the headline, then the teachers."""
    headline = [pipeline.headline.inputs["model"]] if pipeline.headline else []
    return [*headline, *pipeline.of_stage("teacher")]


def print_quality(labels: dict[str, Any]) -> None:
    """All labelled pixels, and the teacher's own, where a hidden truth tells how many are right."""
    if labels.get("accuracy") is None:
        return
    right, covered = _share(labels["accuracy"]), _share(labels["coverage"])
    ends = _percents(labels["accuracy"], labels["accuracy_interval"])
    echo(f"{'':14} {right} right of all labelled pixels ({covered} of the pixels){ends}")
    own, own_covered = _share(labels["own_accuracy"]), _share(labels["own_coverage"])
    if labels["own_coverage"] != labels["coverage"]:
        ends = _percents(labels["own_accuracy"], labels["own_accuracy_interval"])
        echo(f"{'':14} {own} right of the teacher's own ({own_covered} of the pixels){ends}; people drew the others")


def print_table(rows: Sequence[TimedRow]) -> None:
    """Align text left and numbers right."""
    header = [*HEADER, "s/step"]
    lines = [header]
    for row in rows:
        seconds = "-" if row["step_seconds"] is None else f"{row['step_seconds']:.2f}"
        lines.append([*cells(row), seconds])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        aligned = [
            text.ljust(width) if i < 3 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        echo("  ".join(aligned).rstrip())
    for note in remarks(rows):
        echo(note)


def _figure(miou: float | None) -> str:
    return "not defined: no val pixel has a class" if miou is None else f"{miou:.4f}"


def _ends(miou: float | None, interval: Sequence[float] | None) -> str:
    if interval is None:
        return "" if miou is None else f"  ({_too_few()})"
    return f"  (95 %: {interval[0]:.4f} to {interval[1]:.4f})"


def _percents(figure: float | None, interval: Sequence[float] | None) -> str:
    if interval is None:
        return "" if figure is None else f", {_too_few()}"
    return f", 95 %: {100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def _too_few() -> str:
    from autolabel.evaluation.intervals import TOO_FEW

    return TOO_FEW


def _share(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f} %"


def print_plan(project: Project, until: str | None, *, num_processes: int, as_json: bool) -> None:
    """Print what a run would do: each step with state, reason, number of items and estimated disk space.

    Raises what the run would raise before its first step.
    """
    pipeline = project.pipeline
    wanted = pipeline.needed_for(pipeline.select(until) if until else list(pipeline.nodes.values()))
    steps = {step.name: step for step in status(pipeline, project.work)}
    todo = [node for node in wanted if steps[node.name].state != "fresh"]
    if todo:
        preflight(project.experiment, todo, num_processes=num_processes)
    found = (step.path for step in steps.values() if step.stage == "manifest" and step.state == "fresh")
    manifest = next((Artefact.open(path) for path in found if path is not None), None)
    rooms = estimates(pipeline, project.experiment, manifest)
    names = {node.name for node in wanted}
    plan = [_planned(step, rooms.get(name)) for name, step in steps.items() if name in names]
    if as_json:
        print_json({"plan": plan})
        return
    for item in plan:
        disk = "unknown" if item["disk_bytes"] is None else f"about {size(item['disk_bytes'])}"
        takes = f" ({item['items']:,} items, disk: {disk})" if item["items"] is not None else ""
        echo(f"{item['action']:5} {item['step']:22} {item['state']:8} {'; '.join(item['why'])}{takes}")


def _planned(step: StepStatus, room: DiskEstimate | None) -> dict[str, Any]:
    """`items` and `disk_bytes` are None for kept steps, and while they are unknown."""
    fresh = step.state == "fresh"
    known = None if fresh else room
    return {
        "step": step.name,
        "action": "keep" if fresh else "run",
        "state": step.state,
        "why": step.why,
        "items": known and known.items,
        "disk_bytes": known and known.bytes,
    }


rehash_option = click.option(
    "--rehash", is_flag=True, help="Read every input file, also those whose size and times are unchanged."
)


def stage_command(stage: str, help_text: str) -> click.Command:
    """`autolabel STAGE EXPERIMENT`: run the steps of one stage; their inputs must be up to date.

    torchrun may start it; the ranks then share the steps of a parallel stage.
    """

    @click.command(name=stage, help=help_text)
    @experiment_options
    @click.option("--only", metavar="STEP", hidden=True, help="For a run: make this step and print no result.")
    @json_option
    @run_options
    def command(
        experiment: Path,
        work: Path | None,
        overrides: tuple[str, ...],
        only: str | None,
        as_json: bool,
        how: RunOptions,
        rehash: bool = False,
    ) -> None:
        with catch_signals(quiet=from_env(os.environ).size > 1) as stop, init(stop) as world:
            if not world.is_rank0:
                run_worker(world, stop)
                return
            project = open_project(experiment, work=work, overrides=overrides)
            targets = project.pipeline.select(only or stage)
            with running(project, how, stop, world=world, rehash=rehash) as runner:
                done = runner.run_only(targets)
                runner.finish()
        if only is None:
            finish(project, done, as_json=as_json)

    return rehash_option(command) if stage == "manifest" else command


STAGE_HELP = {
    "manifest": "List the data: each image and label with digest, size and pixels per class.",
    "teacher": "Train the teacher.",
    "infer": "Let the teacher label images: a byte of class and confidence per pixel.",
    "label": "Write label PNGs from the codes by threshold; no GPU needed.",
    "audit": "Measure the labels: footprint, coverage, agreement, threshold curves.",
    "compare": "Compare the labels of two rounds of self-training.",
    "fuse": "Put together what a student trains on.",
    "student": "Train the student.",
    "evaluate": "Measure mIoU on the validation images.",
    "report": "Write the report, one HTML file.",
    "table": "Set the evaluations of the pipeline `fusions` side by side.",
}

# `audit` has options of its own: cli/audit.py.
COMMANDS = [run, *(stage_command(stage, text) for stage, text in STAGE_HELP.items() if stage != "audit")]
