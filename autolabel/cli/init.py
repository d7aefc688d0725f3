"""Command `init`: write an experiment file whose settings fit the data and the machine."""

from __future__ import annotations

from pathlib import Path

import click

from autolabel.cli.check_data import notes
from autolabel.cli.options import echo, set_option
from autolabel.errors import ConfigError
from autolabel.store import write_file


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
@set_option
def init(
    source: str,
    root: Path,
    out: Path | None,
    name: str | None,
    minutes: float | None,
    weights: str,
    overrides: tuple[str, ...],
) -> None:
    """Write an experiment file with settings that fit your data and this machine.

    For cityscapes and mapillary it is the published recipe. Settings of the data that --set changes, such as
    data.masks=labels, are written into the file.
    """
    from autolabel.recommend.fit import experiment_name, new_experiment

    name = name or experiment_name(root, source)
    target = out or Path(f"{name}.toml")
    if target.exists():
        raise ConfigError(target, "exists already", "give another name with --out, or delete it")
    new = new_experiment(source, root, name, where=target, minutes=minutes, weights=weights, overrides=overrides)
    write_file(target.absolute(), new.text.encode())
    echo(f"wrote {target}: {new.summary}")
    for note in notes(new.seen):
        echo(note)
    echo(f"next: autolabel run {target}")


COMMANDS = [init]
