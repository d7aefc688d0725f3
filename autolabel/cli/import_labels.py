"""`autolabel import labels`: labels of another tool as a data folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autolabel.classes import ClassSet, read_class_set
from autolabel.cli.options import echo, json_option, print_json, quiet_option
from autolabel.errors import ConfigError, DataError
from autolabel.progress import Progress, print_err
from autolabel.store import write_folder
from autolabel.user_files import read_text, read_user_file

if TYPE_CHECKING:
    from autolabel.formats.base import ForeignLabels

READERS = ("mmseg", "voc", "coco", "yolo", "hf", "cvat", "label-studio", "labelme", "mask")
CROSSINGS = ("even-odd", "nonzero")


@click.group("import")
def import_group() -> None:
    """Import what other tools have written."""


@import_group.command("labels")
@click.argument("labels", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(READERS), required=True, help="The format of LABELS.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the images; hf can do without.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for the data.")
@click.option("--classes", "class_path", type=click.Path(path_type=Path), help="Class file; masks need it.")
@click.option("--map", "renames", multiple=True, metavar="OLD=NEW", help="Rename or merge a class; OLD= drops it.")
@click.option("--background", metavar="CLASS", help="Pixels without an annotation get this class, not ignore.")
@click.option(
    "--ignore", type=click.Choice(["omit", "class"]), help="A class named 'ignore' stays a class, or becomes ignore."
)
@click.option("--crossing", type=click.Choice(CROSSINGS), help="Rule that fills polygons which cross themselves.")
@click.option("--skip-missing", is_flag=True, help="Leave out annotations of images that are not there.")
@click.option(
    "--max-bad", type=click.IntRange(0), default=0, show_default=True, help="Images that may have bad annotations."
)
@click.option("--masks-only", is_flag=True, help="Do not copy the images.")
@json_option
@quiet_option
def import_labels(
    labels: Path,
    format_: str,
    images: Path | None,
    out: Path,
    class_path: Path | None,
    renames: tuple[str, ...],
    background: str | None,
    ignore: str | None,
    crossing: str | None,
    skip_missing: bool,
    max_bad: int,
    masks_only: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Turn LABELS, a file or folder of another tool, into images, masks and a class file for `init --source folder`."""
    from autolabel.formats.importing import ImportSummary, class_table, import_files, match

    if out.exists() or out.is_symlink():
        raise ConfigError(out, "exists already", "give a new folder with --out")
    foreign = read_foreign(labels, format_, class_path, crossing)
    table = class_table(
        foreign, ignore=ignore, renames=dict(map(_rename, renames)), background=background, where=labels
    )
    pairs = match(foreign.images, _folder(images), skip_missing=skip_missing)
    if not pairs:
        raise DataError(labels, "describes none of the images", "name the folder of the images with --images")
    summary = ImportSummary()
    with Progress(total=len(pairs), desc="import", unit="image", quiet=quiet) as bar:
        others = {} if masks_only else _others(images, {target.path for _, target in pairs})
        files = import_files(
            pairs, foreign, table, summary, max_bad=max_bad, copy=not masks_only, others=others, done=bar.update
        )
        write_folder(out.absolute(), files)
    for line in summary.bad:
        print_err(f"no mask: {line}")
    left_out = len(foreign.images) - len(pairs)
    if as_json:
        notes = {**annotations_left_out(foreign), "bad": summary.bad, "left_out": left_out}
        print_json({"out": str(out), "masks": summary.images, "classes": list(summary.names), **notes})
        return
    echo_left_out(foreign)
    if left_out:
        echo(f"left out: {left_out} images that are not there")
    echo(f"{summary.images} masks of {len(summary.names)} classes in {out}")
    echo(f"next: autolabel init --source folder --root {out}")


def read_foreign(labels: Path, format_: str, class_path: Path | None, crossing: str | None) -> ForeignLabels:
    """The labels in a file or folder. Raises DataError."""
    from autolabel.formats.base import ImportOptions
    from autolabel.formats.registry import FORMATS

    if not labels.exists():
        raise DataError(labels, "no such file or folder", "give what the tool exported")
    reader = FORMATS[format_].reader
    assert reader is not None
    return reader(labels, ImportOptions(None if class_path is None else _classes(class_path), crossing or ""))


def annotations_left_out(foreign: ForeignLabels) -> dict[str, dict[str, int]]:
    """How many annotations cover no pixels: by their type, which has no region, and by the cause, in one that has."""
    from autolabel.formats.canvas import WITHOUT_PIXELS

    notes = foreign.notes.items()
    return {
        "without_region": {what: count for what, count in notes if what not in WITHOUT_PIXELS},
        "without_pixels": {what: count for what, count in notes if what in WITHOUT_PIXELS},
    }


def echo_left_out(foreign: ForeignLabels) -> None:
    from autolabel.formats.canvas import WITHOUT_PIXELS

    found = annotations_left_out(foreign)
    for what, count in found["without_region"].items():
        echo(f"left out: {count} of type {what!r}, which covers no pixels")
    for cause, count in found["without_pixels"].items():
        echo(f"left out: {count} {WITHOUT_PIXELS[cause]}")


def _classes(path: Path) -> ClassSet:
    return read_class_set(read_text(path, DataError, "give a class file"), path)


def _folder(images: Path | None) -> Path | None:
    if images is not None and not images.is_dir():
        raise DataError(images, "no such folder", "name the folder of the images with --images")
    return images


def _rename(text: str) -> tuple[str, str]:
    old, separator, new = text.partition("=")
    if not separator or not old:
        raise click.BadParameter(f"{text!r} is not of the form OLD=NEW, e.g. automobile=car")
    return old, new


def _others(images: Path | None, matched: set[str]) -> dict[str, Callable[[], bytes]]:
    """The images below the folder that have no annotation."""
    from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem

    if images is None:
        return {}
    paths = by_stem(images, IMAGE_SUFFIXES).values()
    return {path: partial(read_user_file, images / path, DataError) for path in paths if path not in matched}


COMMANDS = [import_group]
