"""`autolabel export labels`: a label set in the format of another tool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autolabel.cli.export import export
from autolabel.cli.options import echo, json_option, print_json, quiet_option, size
from autolabel.errors import ConfigError
from autolabel.hub.push import push_folder, require_hub
from autolabel.progress import Progress
from autolabel.store import write_folder

if TYPE_CHECKING:
    from autolabel.formats.base import FileItem
    from autolabel.formats.card import Licence
    from autolabel.formats.exporting import ExportSummary

WRITERS = ("mmseg", "voc", "coco", "yolo", "cityscapes", "hf", "cvat", "label-studio", "fiftyone")


@export.command("labels")
@click.argument("labels", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(WRITERS), required=True, help="The format of the export.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for the export.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the images; hf and fiftyone need it.")
@click.option("--copy-images", is_flag=True, help="Copy the images into the export; hf and fiftyone always do.")
@click.option(
    "--ignore",
    type=click.Choice(["omit", "class"]),
    default="omit",
    show_default=True,
    help="Where a format has no ignore: leave such pixels out, or make them a class named 'ignore'.",
)
@click.option("--split", default="train", show_default=True, help="Name of the split in the export.")
@click.option("--image-prefix", default="", help="Label Studio: address of the image folder, before each image name.")
@click.option("--name", default="", help="Data card: name of the data set.")
@click.option("--licence", default="", help="Data card: licence of the data set, e.g. cc-by-4.0.")
@click.option("--creator", default="", help="Data card: who publishes the data set.")
@click.option("--url", default="", help="Data card: address of the data set.")
@click.option("--push", "repo", metavar="OWNER/NAME", help="hf: also upload to this private data set of the hub.")
@json_option
@quiet_option
def export_labels(
    labels: Path,
    format_: str,
    out: Path,
    images: Path | None,
    copy_images: bool,
    ignore: str,
    split: str,
    image_prefix: str,
    name: str,
    licence: str,
    creator: str,
    url: str,
    repo: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Export LABELS for another tool, with a data card (README.md) and Croissant metadata (croissant.json).

    LABELS is a label artefact of a run, or a folder that `cut` or `predict` wrote.
    """
    from autolabel.formats.base import ExportOptions
    from autolabel.formats.card import Licence
    from autolabel.formats.exporting import ExportSummary, plan
    from autolabel.formats.label_sets import open_label_set

    _check(out, split)
    if repo is not None:
        _check_push(format_, repo)
    label_set = open_label_set(labels)
    planned = plan(label_set, format_, images, copy=copy_images)
    options = ExportOptions(label_set.classes, split, ignore == "class", image_prefix)
    summary = ExportSummary()
    with Progress(total=len(planned), desc="export", unit="image", quiet=quiet) as bar:
        files = _files(label_set, planned, format_, options, summary, Licence(name, licence, creator, url), bar)
        write_folder(out.absolute(), files)
    remarks = _remarks(format_, ignore, summary)
    total = sum(file.bytes for file in summary.files)
    address = None if repo is None else push_folder(out, repo)
    if as_json:
        figures = {"images": summary.images, "files": len(summary.files), "bytes": total, "ignored": summary.ignored}
        print_json({"out": str(out), "format": format_, **figures, "remarks": remarks, "pushed": address})
        return
    for remark in remarks:
        echo(remark)
    echo(f"{summary.images} labels as {format_}, {size(total)}, in {out}")
    if address is not None:
        echo(f"uploaded: {address}")


def _check(out: Path, split: str) -> None:
    if out.exists() or out.is_symlink():
        raise ConfigError(out, "exists already", "give a new folder with --out")
    if not split or not all(character.isalnum() or character in "-_" for character in split):
        raise ConfigError("--split", f"{split!r} is no name of letters, digits, '-' and '_'", "such as train or val")


def _check_push(format_: str, repo: str) -> None:
    if format_ != "hf":
        raise ConfigError("--push", f"uploads data sets of format hf, not {format_}", "add --format hf")
    require_hub(repo)


def _files(
    label_set: Any, planned: Any, format_: str, options: Any, summary: ExportSummary, licence: Licence, bar: Progress
) -> Iterator[FileItem]:
    from autolabel.formats.card import card_files
    from autolabel.formats.exporting import export_files, statistics
    from autolabel.formats.lineage import lineage

    yield from export_files(planned, format_, options, summary, bar.update)
    facts = lineage(label_set)
    classes = statistics(label_set, summary, facts["lost"])
    remarks = _remarks(format_, "class" if options.ignore_class else "omit", summary)
    yield from card_files(format_, options.split, licence, facts, classes, summary, remarks)


def _remarks(format_: str, ignore: str, summary: ExportSummary) -> list[str]:
    """Lines about what the format cannot hold."""
    from autolabel.formats.registry import FORMATS

    remarks = [FORMATS[format_].remark] if FORMATS[format_].remark else []
    if not FORMATS[format_].has_ignore:
        ignored = f"{format_} has no ignore: {100 * summary.ignored:.1f} % of the pixels"
        ways = {
            "omit": f"{ignored} are left out of every annotation (--ignore class makes them a class named 'ignore')",
            "class": f"{ignored} are in a class named 'ignore' (--ignore omit leaves them out)",
        }
        remarks.append(ways[ignore])
    return remarks


COMMANDS: list[click.Command] = []  # `export labels` is a command of the group `export`
