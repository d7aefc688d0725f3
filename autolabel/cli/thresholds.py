"""`autolabel thresholds`: what each threshold keeps and how much of it is right, and a choice by an aim."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autolabel.artifacts import read_manifest, read_shard_index
from autolabel.cli.options import Project, echo, experiment_options, jobs_option, json_option, open_project, print_json
from autolabel.cli.steps import Steps, last_labels
from autolabel.errors import ConfigError, DataError
from autolabel.flow.stage import roots_of
from autolabel.hardware import usable_cores
from autolabel.store import write_file
from autolabel.user_files import read_user_file

if TYPE_CHECKING:
    from autolabel.audit.choose_thresholds import Aim


class Fraction(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """A fraction: 5% or 0.05."""

    name = "FRACTION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value.removesuffix("%")) / 100 if str(value).endswith("%") else float(value)
        except ValueError:
            number = -1.0
        if not 0 < number < 1:
            self.fail(f"{value!r} is not a fraction such as 5% or 0.05, above 0 and below 1", param, ctx)
        return number


@click.command()
@experiment_options
@click.option("--max-error", type=Fraction(), help="Promise at most this error per class, e.g. 5%.")
@click.option("--confidence", type=Fraction(), default="95%", show_default=True, help="Confidence of that promise.")
@click.option("--keep", type=Fraction(), help="Keep at least this fraction of each class, e.g. 90%.")
@click.option(
    "--best-student",
    is_flag=True,
    help="Keep every bin of a class that is, calibrated, more often right than wrong. No training chose this rule.",
)
@click.option(
    "--over",
    type=click.Choice(["groups", "images"]),
    default="groups",
    show_default=True,
    help="Units of the promise: groups of images that are alike (drives, cities), or single images.",
)
@click.option("--write", is_flag=True, help="Write the choice to label.class_thresholds in EXPERIMENT.")
@jobs_option
@json_option
def thresholds(
    experiment: Path,
    work: Path | None,
    overrides: tuple[str, ...],
    max_error: float | None,
    confidence: float,
    keep: float | None,
    best_student: bool,
    over: str,
    write: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Show per class what thresholds keep and how much of it is right on held-out images, and choose by an aim."""
    from autolabel.audit.choose_thresholds import Aim

    aims = (max_error is not None) + (keep is not None) + best_student
    if aims > 1:
        raise click.UsageError("--max-error, --keep and --best-student are different aims; give one of them")
    if write and not aims:
        raise click.UsageError("--write needs an aim: --max-error 5%, --keep 90% or --best-student")
    project = open_project(experiment, work=work, overrides=overrides)
    if write and project.experiment.label.threshold_on != "network":
        what = 'is "calibrated"; the thresholds here are on the network\'s own number'
        raise ConfigError("label.threshold_on", what, 'set it to "network", or leave out --write')
    aim = Aim(max_error, confidence, keep)
    result = held_out_choice(project, aim, best_student=best_student, over=over, jobs=jobs or usable_cores())
    chosen = {name: row["threshold"] for name, row in result["classes"].items() if row["threshold"] is not None}
    result["written"] = _write(experiment, chosen) if write else False
    if as_json:
        print_json(result)
        return
    print_curves(result)
    if aims:
        print_choice(result)
    if result["written"]:
        echo(f"label.class_thresholds of {len(chosen)} classes written to {experiment}")


def held_out_choice(project: Project, aim: Aim, *, best_student: bool, over: str, jobs: int) -> dict[str, Any]:
    """Curves and choices, from the codes of the last round's teacher; what `--json` prints.

    `best_student` replaces the aim by one that the calibration of the same images gives.
    """
    import numpy as np

    from autolabel.audit.choose_thresholds import HeldOutCounts, choose
    from autolabel.labels.calibration import CellCounts, calibrate, count_cells
    from autolabel.stages.held_out import held_out_images

    labels = last_labels(project)
    artefact, codes = Steps(project).open_fresh(labels.inputs["data"], labels.inputs["codes"])
    data, index = read_manifest(artefact), read_shard_index(codes)
    roots = roots_of(project.experiment, {"data": artefact})
    rows, groups, ids = [], [], []
    cells = CellCounts(index.book)
    for image in held_out_images(codes, index, data, roots, jobs=jobs, check=lambda: None):
        rows.append(count_cells(index.book, image.classes, image.bins, image.fine))
        cells.add(image.classes, image.bins, image.fine)
        groups.append(image.group)
        ids.append(image.id)
    if not rows:
        raise DataError("codes", "no val image has codes and a fine label", "hold a few finely labelled images out")
    kept, right = (np.stack([row[part] for row in rows]).astype(np.uint32) for part in (0, 1))
    units, named = (groups, "groups") if over == "groups" and len(set(groups)) > 1 else (ids, "images")
    steps = [0.0, *index.book.edges]
    counts = HeldOutCounts(kept, right, kept.sum(axis=(1, 2), dtype=np.int64), units)
    if best_student:
        aim = aim._replace(mostly_right=calibrate(cells))
    choices = choose(counts, data.classes.names, steps, aim)
    number = len(set(units))
    classes = {name: {**row, "note": row["note"].format(units=f"{number} {named}")} for name, row in choices.items()}
    return {"images": len(ids), "over": named, "units": number, "thresholds": steps, "classes": classes}


def print_curves(result: dict[str, Any]) -> None:
    echo(f"held-out images: {result['images']}; percent of each class's pixels by threshold")
    width = max(len(name) for name in result["classes"])
    echo(f"{'':{width}}       " + "".join(f"{t:>6g}" for t in result["thresholds"]))
    for name, row in result["classes"].items():
        for kind in ("kept", "right"):
            cells = "".join("     -" if v is None else f"{100 * v:6.1f}" for v in row[kind])
            echo(f"{name if kind == 'kept' else '':{width}}  {kind:5}{cells}")


def print_choice(result: dict[str, Any]) -> None:
    width = max(len(name) for name in result["classes"])
    echo(f"{'':{width}}  threshold")
    for name, row in result["classes"].items():
        chosen = row["threshold"]
        line = f"{name:{width}}  {'none' if chosen is None else f'{chosen:g}':9}"
        if chosen is not None:
            index = result["thresholds"].index(chosen)
            right = row["right"][index]
            line += f"  {100 * row['kept'][index]:.1f} % kept" + (
                "" if right is None else f", {100 * right:.1f} % right"
            )
        echo((line + (f"  {row['note']}" if row["note"] else "")).rstrip())


def _write(experiment: Path, chosen: dict[str, float]) -> bool:
    """Whether there was anything to write. The file is replaced at once, or not at all."""
    from autolabel.config.edit import with_class_thresholds
    from autolabel.config.load import parse_experiment

    if not chosen:
        return False
    raw = read_user_file(experiment, ConfigError, "give the path of a TOML file")
    edited = with_class_thresholds(raw.decode("utf-8"), chosen, experiment).encode("utf-8")
    parse_experiment(edited, where=experiment, base=experiment.parent)
    write_file(experiment.absolute().resolve(), edited)
    return True


COMMANDS = [thresholds]
