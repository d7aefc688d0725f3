"""Command `check-data`: what all masks hold, and which findings a run would end with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autolabel.cli.options import echo, jobs_option, json_option, print_json, quiet_option, set_option
from autolabel.config.load import load_experiment
from autolabel.config.sources import Data, SyntheticConfig
from autolabel.data.sources.base import first_three
from autolabel.errors import ConfigError, DataError
from autolabel.store import write_file

if TYPE_CHECKING:
    from autolabel.data.build import ScanResult
    from autolabel.data.findings import Finding
    from autolabel.data.survey import Survey
    from autolabel.report.mask_sheet import MaskSample

_SHEET = 6  # images in the sheet
_MOST_ROWS = 60  # values in the table


@click.command(name="check-data")
@click.argument("experiment", type=click.Path(path_type=Path))
@set_option
@click.option("--out", type=click.Path(path_type=Path), help="A PNG to write: a few images, their masks, the legend.")
@jobs_option
@quiet_option
@json_option
def check_data(
    experiment: Path, overrides: tuple[str, ...], out: Path | None, jobs: int | None, quiet: bool, as_json: bool
) -> None:
    """Read all images and masks of EXPERIMENT, and say what the masks hold and what looks wrong.

    A run makes the same checks before it trains. Exit code 3 means that it would end with a finding.
    """
    from autolabel.data.build import scan

    settings = load_experiment(experiment, overrides).data
    if out is not None:
        _check_out(out, settings)
    found = scan(settings, jobs=jobs or 0, quiet=quiet)
    error = _refusal(found)
    if as_json:
        print_json(_document(found))
    else:
        others = notes(found, but=error)
        for line in [*value_lines(found), *(others or ["nothing suspicious"] * (error is None))]:
            echo(line)
    if out is not None:
        write_file(out.absolute(), _sheet(settings, found))
        if not as_json:
            echo(f"wrote {out}")
    if error is not None:
        raise error


def _refusal(found: ScanResult) -> DataError | None:
    """The error that a run of this data ends with; None: there is none."""
    from autolabel.data.build import refuse

    try:
        refuse(found)
    except DataError as error:
        return error
    return None


def _check_out(out: Path, settings: Data) -> None:
    if isinstance(settings, SyntheticConfig):
        raise ConfigError("--out", "synthetic scenes have no files to show", "leave it out")
    if out.suffix.lower() != ".png":
        raise ConfigError("--out", f"{out.name!r} does not end in .png", "give the name of a PNG")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ConfigError("--out", f"{out} cannot be written", "give a file in a folder that exists")


def value_lines(found: ScanResult) -> list[str]:
    """A table for each label layer of the values in masks: value, class, fraction of the pixels, number of masks."""
    layers = found.survey.layers()
    if not layers:
        stated = any(image.labels for image in found.listing.images)
        return ["there are only labels of autolabel, which state their classes" if stated else "there are no masks"]
    return [line for name, survey in layers.items() for line in _layer_lines(name, survey)]


def _layer_lines(name: str, survey: Survey) -> list[str]:
    rows = survey.rows()
    width = max([len(row["value"]) for row in rows], default=0)
    names = max([len(row["meaning"]) for row in rows], default=0)
    lines = [f"{len(survey.masks)} {name} masks hold these values:"]
    for row in rows[:_MOST_ROWS]:
        share = f"{100 * row['fraction']:7.3f} %"
        lines.append(f"  {row['value']:{width}}  {row['meaning']:{names}}  {share}  in {row['masks']} masks")
    if len(rows) > _MOST_ROWS:
        lines.append(f"  and {len(rows) - _MOST_ROWS} more values")
    return lines


def notes(found: ScanResult, *, but: DataError | None = None) -> list[str]:
    """A line per finding, then the files that are left out and the images that cannot be used.

    The cause of the error `but` is left out: its own line follows.
    """
    from autolabel.data.build import UNUSABLE

    told = "" if but is None else but.what
    lines = [_finding_line(finding) for finding in found.findings if finding.what != told]
    lines += [f"note: {item}" for item in found.listing.skipped]
    if found.quarantined and not told.startswith(UNUSABLE):
        reasons = "" if any(finding.level == "error" for finding in found.findings) else f": {_reasons(found)}"
        lines.append(f"unusable: {len(found.quarantined)} images{reasons}")
    return lines


def _reasons(found: ScanResult) -> str:
    return first_three([reason for *_, reason in found.quarantined])


def _finding_line(finding: Finding) -> str:
    confirm = f' (if it is right, set data.confirmed = ["{finding.code}"])' if finding.level == "doubt" else ""
    return f"{finding.level}: {finding}{confirm}"


def _document(found: ScanResult) -> dict[str, object]:
    return {
        "masks": len(found.survey.masks),
        "values": found.survey.rows(),
        "layers": {
            name: {"masks": len(survey.masks), "values": survey.rows()}
            for name, survey in found.survey.layers().items()
        },
        "missing_classes": found.survey.missing,
        "findings": [vars(finding) for finding in found.findings],
        "skipped": [vars(item) for item in found.listing.skipped],
        "unusable": [{"id": id_, "path": path, "reason": reason} for id_, path, reason in found.quarantined],
    }


def _sheet(settings: Data, found: ScanResult) -> bytes:
    from autolabel.labels.visualize import image_png
    from autolabel.report.mask_sheet import mask_sheet

    classes = found.listing.classes
    survey = next(iter(found.survey.layers().values()), found.survey)
    by_class = [
        sum(survey.fraction(value) for value in survey.pixels if survey.table.get(value) == index)
        for index in range(classes.num_classes)
    ]
    return image_png(mask_sheet(_samples(settings, found), classes, by_class))


def _samples(settings: Data, found: ScanResult) -> list[MaskSample]:
    """A few images with their first label, spread over the source, read as training reads them."""
    from autolabel.data.build import read_pair
    from autolabel.report.mask_sheet import MaskSample

    usable = {label.image_id for label in found.labels}
    images = [image for image in found.listing.images if image.id in usable]
    chosen = images[:: max(1, -(-len(images) // _SHEET))]
    return [MaskSample(image.id, *read_pair(settings, found.listing, image)) for image in chosen]


COMMANDS = [check_data]
