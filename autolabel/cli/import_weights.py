"""`autolabel import-weights`: turn a published checkpoint into a weights file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autolabel.classes import CLASS_SETS, ClassSet, read_class_set
from autolabel.cli.options import echo, json_option, print_json, size
from autolabel.errors import ConfigError, WeightsError
from autolabel.store import check_place, only_writer, sha256_bytes, sha256_file, write_file
from autolabel.user_files import read_text, read_user_file

if TYPE_CHECKING:
    from autolabel.models.published.importing import Imported, Notes


@click.command("import-weights")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The safetensors file to write.")
@click.option(
    "--classes",
    metavar="SET",
    help=f"{', '.join(CLASS_SETS)}, a class file (TOML) or a Mapillary Vistas config file; default: cityscapes for 19.",
)
@click.option("--trunk", help="Name the trunk; by default it is detected.")
@click.option("--head", help="The same for the head.")
@click.option("--fusion", help="The same for the fusion.")
@json_option
def import_weights(
    file: Path, out: Path, classes: str | None, trunk: str | None, head: str | None, fusion: str | None, as_json: bool
) -> None:
    """Make a weights file from FILE: a published checkpoint, or a trunk trained on ImageNet.

    The network is detected from the entries. Every entry is used or named, and no code in the file is run.
    """
    from autolabel.models.published import Choice
    from autolabel.models.published import import_weights as read

    if out.is_dir():
        raise ConfigError(out, "is a folder", "give the name of a file with --out")
    check_place(out)
    class_set = None if classes is None else _class_set(classes)
    data = read_user_file(file, WeightsError, "give the path of a checkpoint")
    imported = read(data, file, choice=Choice(trunk, head, fusion), classes=class_set)
    _write(out, imported.data)
    if as_json:
        print_json({"out": str(out), "bytes": len(imported.data), **_result(imported)})
        return
    for line in (f"{file}: {_what(imported, classes)}", *_entries(imported.notes)):
        echo(line)
    echo(f"wrote {out}: {size(len(imported.data))}")
    echo(f"next: {_next(imported, out)}")


def _class_set(name: str) -> ClassSet:
    if name in CLASS_SETS:
        return CLASS_SETS[name]
    text = read_text(Path(name), ConfigError, f"give a class file, or one of {', '.join(CLASS_SETS)}")
    return read_class_set(text, name)


def _write(out: Path, data: bytes) -> None:
    """An existing file is kept: it may be another network."""
    with only_writer(out.absolute()):
        _write_alone(out, data)


def _write_alone(out: Path, data: bytes) -> None:
    if not out.exists() and not out.is_symlink():
        write_file(out.absolute(), data)
    elif sha256_file(out) != sha256_bytes(data):
        raise ConfigError(out, "exists already and holds something else", "give another name with --out, or delete it")


def _result(imported: Imported) -> dict[str, Any]:
    card = imported.card.model_dump(mode="json")
    remarks = card.pop("extra")["imported"]
    return {**imported.notes._asdict(), "sha256": remarks["sha256"], **card}


def _what(imported: Imported, classes: str | None) -> str:
    """A description of the network."""
    card = imported.card.model_dump()
    if "table" not in card:
        return f"a {imported.notes.layout} trunk alone"
    parts = " + ".join(card["table"][part] for part in ("trunk", "head", "fusion"))
    named = "" if classes else " taken for those of Cityscapes (--classes names others)"
    published = "" if imported.notes.layout == parts else f"{imported.notes.layout}: "
    return f"{published}{parts}, {len(card['class_names'])} classes{named}"


def _entries(notes: Notes) -> Iterator[str]:
    """A line for each use of entries that occurs."""
    yield f"  {notes.used} entries used"
    if notes.counters:
        yield f"  {notes.counters} counters of norms (num_batches_tracked) are missing and start at 0"
    if notes.left_out:
        groups = Counter(key.partition(".")[0] for key in notes.left_out)
        names = ", ".join(f"{group}.* ({count})" for group, count in groups.items())
        yield f"  {len(notes.left_out)} entries of its classifier are left out: {names}"
    if notes.beside:
        yield f"  stored beside the weights, not used: {', '.join(notes.beside)}"
    if notes.fresh:
        yield f"  initialised at random, because the number of classes differs: {', '.join(notes.fresh)}"


def _next(imported: Imported, out: Path) -> str:
    table = imported.card.model_dump().get("table")
    if table is None:
        return f'an experiment with teacher.weights = "{out}" and teacher.model.trunk = "{imported.notes.layout}"'
    if imported.notes.fresh:
        return f'train it, with teacher.weights = "{out}" in an experiment'
    return f"autolabel predict --teacher {out} IMAGES --out DIR"


COMMANDS = [import_weights]
