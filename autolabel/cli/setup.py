"""Commands to begin with: `demo`, `init`, `doctor`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autolabel.cli.check_data import notes
from autolabel.cli.options import (
    RunOptions,
    echo,
    json_option,
    load_project,
    print_json,
    run_options,
    set_option,
    work_folder,
    work_option,
)
from autolabel.cli.run import run_project
from autolabel.config.load import is_utf8, parse_experiment, toml_literal, toml_string
from autolabel.config.sources import Data
from autolabel.errors import ConfigError, DataError
from autolabel.resources import resource
from autolabel.store import write_file

if TYPE_CHECKING:
    from autolabel.data.build import ScanResult
    from autolabel.data.sources.base import SourceListing

_LOOKED_AT = 64  # images with masks that `init` opens; a run opens all
# Folders of images and masks in published layouts: BDD100K, ADE20K, PASCAL VOC, MMSegmentation, and usual names.
_LAYOUTS = (
    ("images/10k", "labels/sem_seg/masks"),
    ("images", "annotations"),
    ("JPEGImages", "SegmentationClass"),
    ("img_dir", "ann_dir"),
    ("images", "labels"),
)


@click.command()
@work_option
@set_option
@json_option
@run_options
def demo(work: Path | None, overrides: tuple[str, ...], as_json: bool, how: RunOptions) -> None:
    """Run the whole pipeline on synthetic street scenes, in minutes on a CPU."""
    raw = resource("configs", "demo.toml")
    experiment = parse_experiment(raw, where="demo.toml", base=Path(), overrides=overrides)
    run_project(load_project(experiment, work), how, until=None, as_json=as_json)


@click.command()
@click.option(
    "--source",
    type=click.Choice(["folder", "camvid", "cityscapes", "mapillary"]),
    required=True,
    help="How the data is laid out.",
)
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Where the data lies.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; default: NAME.toml here.")
@click.option("--name", help="The experiment's name; default: the data folder's.")
@set_option
def init(source: str, root: Path, out: Path | None, name: str | None, overrides: tuple[str, ...]) -> None:
    """Write an experiment file for your data, after checking it against the data.

    Settings of the data that --set changes, such as data.masks=labels, are written into the file.
    """
    if not root.is_dir():
        raise ConfigError(root, "is not a folder", "name the folder of your data with --root")
    if not is_utf8(f"{root.resolve()} {name}"):
        raise ConfigError(root, "an experiment file is UTF-8; this path or name is not", "rename the folder")
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip(".-_")[:64] or source
    target = out or Path(f"{name}.toml")
    if target.exists():
        raise ConfigError(target, "exists already", "give another name with --out, or delete it")
    text = _experiment_text(source, name, root, overrides)
    seen = _look(parse_experiment(text.encode(), where=target, base=target.parent).data)
    write_file(target.absolute(), text.encode())
    echo(f"wrote {target}: {_counts(seen.listing)}")
    for note in notes(seen):
        echo(note)
    echo(f"next: autolabel run {target}")


def _experiment_text(source: str, name: str, root: Path, overrides: tuple[str, ...]) -> str:
    text = resource("configs", f"{source}.toml").decode()
    for key, value in (("name", name), ("root", str(root.resolve()))):
        line = f"{key} = {toml_string(value)}"
        text = re.sub(rf'^{key} = ".*"$', line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
    for line in _settings(source, root, overrides):
        text = _with_setting(text, line)
    return text


def _settings(source: str, root: Path, overrides: tuple[str, ...]) -> list[str]:
    """Lines for the table [data]: those of --set, and those that the folders call for."""
    lines = _layout(source, root)
    for override in overrides:
        key, separator, value = override.partition("=")
        table, _, setting = key.strip().partition(".")
        if table != "data" or not separator or not re.fullmatch("[a-z_]+", setting) or setting in ("source", "root"):
            remedy = "edit other settings in the file, once it is written"
            raise ConfigError(f"--set {override}", "init takes settings of the data only: data.KEY=VALUE", remedy)
        lines.append(f"{setting} = {toml_literal(value)}")
    return lines


def _layout(source: str, root: Path) -> list[str]:
    """Settings for folders of other names than the usual ones; later lines of the same key replace them."""
    if source == "cityscapes" and not (root / "leftImg8bit" / "train_extra").is_dir():
        return ["coarse = []"]
    if source != "folder" or (root / "masks").is_dir():
        return []
    found = (pair for pair in _LAYOUTS if all((root / folder).is_dir() for folder in pair))
    images, masks = next(found, ("images", "masks"))
    return [f'images = "{images}"', f'masks = "{masks}"'] if masks != "masks" else []


def _with_setting(text: str, line: str) -> str:
    """The experiment with this line in its table [data], in place of a line of the same key."""
    head, mark, rest = text.partition("[data]\n")
    table, end, others = rest.partition("\n[")
    key = line.partition(" = ")[0]
    lines = [old for old in table.split("\n") if not old.startswith(f"{key} = ")]
    while lines and not lines[-1]:
        lines.pop()
    return head + mark + "\n".join([*lines, line]) + "\n" + end + others


def _look(data: Data) -> ScanResult:
    """List the source and open some of its masks: mistakes show here, not after an hour.

    Raises DataError for a certain mistake; a run asks about the doubtful ones.
    """
    from autolabel.data.build import scan
    from autolabel.data.findings import raise_findings

    seen = scan(data, quiet=True, labelled_only=_LOOKED_AT)
    raise_findings([finding for finding in seen.findings if finding.level == "error"])
    bad, good = len(seen.quarantined), len(seen.rows)
    if bad > data.max_bad and bad > good:
        raise DataError("data", f"{bad} of {bad + good} images with masks cannot be used", seen.quarantined[0][2])
    return seen


def _counts(found: SourceListing) -> str:
    layers: dict[str, int] = {}
    for label in (label for image in found.images for label in image.labels):
        layers[label.role] = layers.get(label.role, 0) + 1
    parts = [f"{len(found.images)} images"] + [f"{count} {role} labels" for role, count in layers.items()]
    return ", ".join(parts)


@click.command()
@work_option
@json_option
def doctor(work: Path | None, as_json: bool) -> None:
    """Check this machine: Python, torch, device, cores, the work folder's disk, a self-test. No network."""
    from autolabel.cli.doctor import check_machine

    checks = check_machine(work_folder(work or Path("work")))
    if as_json:
        print_json({"checks": [vars(check) for check in checks]})
    else:
        for check in checks:
            echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:12} {check.found}")
            if not check.ok:
                echo(f"{'':4}  {'':12} {check.remedy}")
    failed = [check for check in checks if not check.ok]
    if failed:
        raise ConfigError(failed[0].name, failed[0].found, failed[0].remedy)


COMMANDS = [demo, init, doctor]
