"""`autolabel corrections`: labels that people have corrected in another tool come home."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from autolabel.cli.import_labels import READERS, annotations_left_out, echo_left_out, read_foreign
from autolabel.cli.options import echo, json_option, print_json, quiet_option
from autolabel.errors import ConfigError, DataError
from autolabel.progress import Progress
from autolabel.store import sha256_file, write_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autolabel.formats.base import ForeignImage, ForeignLabels
    from autolabel.formats.corrections import Correction
    from autolabel.formats.importing import ImageIndex
    from autolabel.formats.label_sets import LabelSet, LabelSetItem


@click.group()
def corrections() -> None:
    """Take corrected labels back from other tools."""


@corrections.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), required=True, help="The label set that was exported.")
@click.option("--format", "format_", type=click.Choice(READERS), required=True, help="The format of FILE.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for the corrections.")
@click.option(
    "--uncovered",
    type=click.Choice(["ignore", "keep"]),
    help="Pixels outside all annotations: ignore, or as before; default: keep for labelme, else ignore; an image "
    "without regions then needs this option (coco, yolo, cvat, label-studio).",
)
@click.option("--by", "author", default="", help="Who corrected them, where FILE does not say.")
@json_option
@quiet_option
def import_corrections(
    file: Path, labels: Path, format_: str, out: Path, uncovered: str | None, author: str, as_json: bool, quiet: bool
) -> None:
    """Compare FILE, the export of a tool, with LABELS, and write the pixels that differ.

    Name the folder as `fuse.corrections` in the experiment: students then learn from the corrected labels.
    """
    from autolabel.formats.corrections import UNCHANGED, corrections_files
    from autolabel.formats.label_sets import open_label_set
    from autolabel.formats.registry import FORMATS

    if out.exists() or out.is_symlink():
        raise ConfigError(out, "exists already", "give a new folder with --out")
    label_set = open_label_set(labels)
    if label_set.classes.num_classes > UNCHANGED:
        raise DataError(labels, f"has more than {UNCHANGED} classes", "corrections need one value more")
    uncovered = uncovered or ("keep" if format_ == "labelme" else None)
    foreign = _read(file, format_, label_set)
    with Progress(total=len(foreign.images), desc="corrections", unit="image", quiet=quiet) as bar:
        found = list(_compare(foreign, label_set, file, uncovered, author, bar, has_ignore=FORMATS[format_].has_ignore))
    if not found:
        raise DataError(file, f"differs from {labels} in no pixel", "is it the file after the corrections?")
    source = {"format": format_, "file": file.name, "sha256": sha256_file(file) if file.is_file() else ""}
    write_folder(out.absolute(), corrections_files(found, label_set.classes.names, label_set.digest, source))
    pixels = sum(row.pixels for row in found)
    if as_json:
        counts = {"images": len(found), "pixels": pixels, "compared": len(foreign.images)}
        print_json({"out": str(out), **counts, **annotations_left_out(foreign)})
        return
    echo_left_out(foreign)
    echo(f"{pixels} pixels corrected in {len(found)} of {len(foreign.images)} images, in {out}")
    echo(f'next: write corrections = "{out}" into the table [fuse] of the experiment, and run it')


def _read(file: Path, format_: str, label_set: LabelSet) -> ForeignLabels:
    """Masks are in the ids of the label set; other formats name their classes."""
    if format_ != "mask":
        return read_foreign(file, format_, None, None)
    from autolabel.formats.base import ForeignLabels
    from autolabel.formats.masks import mask_images

    folder = file / "labels" if (file / "labels").is_dir() else file
    if not folder.is_dir():
        raise DataError(file, "is no folder", "give the folder of the corrected masks")
    return ForeignLabels(label_set.classes.names, None, mask_images(folder, label_set.classes, label_set.encoding))


def _compare(
    foreign: ForeignLabels,
    label_set: LabelSet,
    file: Path,
    uncovered: str | None,
    author: str,
    bar: Progress,
    *,
    has_ignore: bool,
) -> Iterator[Correction]:
    """The corrections of each image that has any.

    Raises DataError for unknown classes, images and sizes, and where a whole label would be lost without a word:
    `uncovered` is None, and the file has no region in an image, as where nobody has opened it.
    """
    from autolabel.classes import IGNORE
    from autolabel.formats.base import first_of
    from autolabel.formats.corrections import Correction, corrected

    table = _train_ids(foreign, label_set, file)
    empty: list[str] = []
    for image, item in _matched(foreign, label_set):
        before = item.read()
        if image.size is not None and image.size != before.shape:
            what = f"states {image.size[1]} x {image.size[0]}, its label is {before.shape[1]} x {before.shape[0]}"
            raise DataError(image.where, what, "give the label set that was exported")
        after = table[image.draw(*before.shape)]
        if uncovered is None and not has_ignore and (after == IGNORE).all() and (before != IGNORE).any():
            empty.append(image.where)
        labels = corrected(before, after, keep_uncovered=uncovered == "keep")
        correction = Correction(item.id, labels, author or image.author, image.time, item.image_sha256)
        bar.update()
        if correction.pixels:
            yield correction
    if empty:
        what = f"has images without any region, whose labels would be lost: {len(empty)}: {first_of(empty)}"
        raise DataError(file, what, "say --uncovered keep if they are as before, --uncovered ignore if all is ignore")


def _train_ids(foreign: ForeignLabels, label_set: LabelSet, file: Path) -> NDArray[np.uint8]:
    """(256,) table from a position in the foreign class list to the train id of the same name."""
    from autolabel.classes import IGNORE
    from autolabel.formats.base import IGNORE_CLASS

    names = label_set.classes.names
    known = {*names, IGNORE_CLASS, *foreign.unused}
    unknown = [name for name in foreign.names if name not in known]
    if unknown:
        what = f"has classes that the labels do not have: {', '.join(unknown[:5])}"
        raise DataError(file, what, f"rename them in the tool; the labels have {', '.join(names[:10])}")
    table = np.full(256, IGNORE, np.uint8)
    for index, name in enumerate(foreign.names):
        table[index] = names.index(name) if name in names else IGNORE
    return table


def _matched(foreign: ForeignLabels, label_set: LabelSet) -> list[tuple[ForeignImage, LabelSetItem]]:
    from autolabel.formats.base import first_of
    from autolabel.formats.importing import ImageIndex

    items = {item.image: item for item in label_set.items}
    index = ImageIndex({item.id: item.image for item in label_set.items})
    pairs, missing = [], []
    for image in foreign.images:
        path = index.find(image.name, image.where) or _by_id(index, image, items)
        if path is None:
            missing.append(f"{image.where}: {image.name!r}")
        else:
            pairs.append((image, items[path]))
    if missing:
        what = f"does not have images of the file: {len(missing)}: {first_of(missing)}"
        raise DataError(label_set.where, what, "give the label set that was exported")
    twice = [id_ for id_, count in Counter(item.id for _, item in pairs).items() if count > 1]
    if twice:
        places = [image.where for image, item in pairs if item.id == twice[0]]
        raise DataError(places[1], f"claims the image {twice[0]!r}, as does {places[0]}", "keep one of them")
    return pairs


def _by_id(index: ImageIndex, image: ForeignImage, items: Mapping[str, LabelSetItem]) -> str | None:
    """The label of an image whose file name the label set does not know: folders of `cut` and `predict` hold ids."""
    path = index.find(image.name.rpartition(".")[0], image.where) if "." in image.name else None
    return path if path is not None and items[path].image == items[path].id else None


COMMANDS = [corrections]
