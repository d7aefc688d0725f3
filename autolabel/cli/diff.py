"""`autolabel diff`: how two label sets of the same images differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from autolabel.audit.comparison import LabelDiff
from autolabel.cli.options import echo, jobs_option, json_option, print_json
from autolabel.errors import ConfigError, DataError
from autolabel.hardware import usable_cores
from autolabel.labels import png
from autolabel.labels.label_set import CLASSES, FOLDER, TABLE, Statement, images_of_labels, read_statement
from autolabel.parallel import OrderedMap
from autolabel.store import Artefact
from autolabel.user_files import read_user_file

_REMEDY = "give a label artefact of a run, or a folder that `cut`, `predict` or `run` has filled"
MOST = 10  # rows that are printed


class LabelSet(NamedTuple):
    names: tuple[str, ...]
    files: dict[str, str]  # id of the image -> file
    read: Callable[[str], bytes]
    to_train: NDArray[np.uint8]  # (256,) value in a PNG -> train id, 255 = ignore


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@jobs_option
@json_option
def diff(before: Path, after: Path, jobs: int | None, as_json: bool) -> None:
    """Compare the label sets BEFORE and AFTER: which classes flip into which, and the images that changed most."""
    sets = (open_labels(before), open_labels(after))
    if sets[0].names != sets[1].names:
        odd = sorted(set(sets[0].names) ^ set(sets[1].names)) or ["the same names in another order"]
        raise DataError(
            after, f"has other classes than {before}: {', '.join(odd[:3])}", "compare sets of one class list"
        )
    both = [image for image in sets[0].files if image in sets[1].files]
    if not both:
        raise DataError(after, f"has no image in common with {before}", "compare label sets of the same images")
    result = compare(sets[0], sets[1], both, jobs=jobs or usable_cores())
    result["only_before"], result["only_after"] = (len(one.files) - len(both) for one in sets)
    if as_json:
        print_json(result)
    else:
        print_diff(result)


def open_labels(path: Path) -> LabelSet:
    """A label set, from the folder of its artefact or any folder with a statement of its ids. Raises DataError."""
    read = Artefact.open(path).read if (path / "COMMIT").is_file() else lambda name: _read(path, name)
    if not (path / "COMMIT").is_file() and not path.is_dir():
        raise ConfigError(path, "is not a folder", _REMEDY)
    statement = read_statement(read(CLASSES), path / CLASSES)
    if statement is None:
        raise DataError(path / CLASSES, "does not state the ids of a label set", _REMEDY)
    images = images_of_labels(read(f"{FOLDER}/{TABLE}"), path / FOLDER / TABLE)
    files = {image: f"{FOLDER}/{label}" for label, image in images.items()}
    return LabelSet(statement.classes.names, files, read, _to_train(statement))


def _to_train(statement: Statement) -> NDArray[np.uint8]:
    table = np.full(256, 255, np.uint8)
    table[statement.values()[: statement.classes.num_classes]] = np.arange(statement.classes.num_classes)
    return table


def _read(folder: Path, name: str) -> bytes:
    file = folder / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise DataError(folder / FOLDER / TABLE, f"names {name!r}, which leads out of the folder", "put it back")
    return read_user_file(file, DataError, _REMEDY)


def compare(before: LabelSet, after: LabelSet, images: list[str], *, jobs: int) -> dict[str, Any]:
    """Figures of all images, pixels by pair of classes, and the changed fraction per image; memory is flat."""
    total = LabelDiff(before.names)
    changed: list[tuple[float, str]] = []

    def load(image: str) -> tuple[str, list[NDArray[np.uint8]]]:
        return image, [_label(one, image) for one in (before, after)]

    with OrderedMap(load, images, workers=jobs, ahead=jobs) as pairs:
        for image, (old, new) in pairs:
            if old.shape != new.shape:
                raise DataError(image, f"is {old.shape} before and {new.shape} after", "compare labels of one size")
            total.add(old, new)
            changed.append((float(np.mean(old != new)), image))
    worst = sorted(changed, key=lambda pair: (-pair[0], pair[1]))[:MOST]
    return {
        **total.result(),
        "flips": total.flips(),
        "images_changed_most": [{"image": image, "changed": part} for part, image in worst if part],
    }


def _label(labels: LabelSet, image: str) -> NDArray[np.uint8]:
    file = labels.files[image]
    decoded: NDArray[np.uint8] = labels.to_train[png.decode(labels.read(file), where=file)]
    return decoded


def print_diff(result: dict[str, Any]) -> None:
    def percent(value: float | None) -> str:
        return "none" if value is None else f"{100 * value:.2f} %"

    only = f"{result['only_before']} only before, {result['only_after']} only after"
    echo(f"images         {result['images']} in both, {only}")
    for key, text in (
        ("same", "unchanged"),
        ("gained", "newly labelled"),
        ("lost", "newly ignored"),
        ("switched", "other class"),
    ):
        echo(f"{text:14} {percent(result[key])} of the pixels")
    echo(f"labelled       {percent(result['coverage_before'])} before, {percent(result['coverage_after'])} after")
    if result["flips"]:
        echo("flips, by pixels")
    for row in result["flips"][:MOST]:
        echo(f"  {row['before']} -> {row['after']}: {row['pixels']:,} ({percent(row['share'])} of {row['before']})")
    if result["images_changed_most"]:
        echo("images that changed most")
    for row in result["images_changed_most"]:
        echo(f"  {percent(row['changed']):>9}  {row['image']}")


COMMANDS = [diff]
