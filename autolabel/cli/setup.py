"""Commands to begin with: `demo`, `init`, `doctor`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

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
from autolabel.config.load import is_utf8, parse_experiment
from autolabel.config.sources import Data
from autolabel.errors import ConfigError
from autolabel.resources import resource
from autolabel.store import write_file


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
def init(source: str, root: Path, out: Path | None, name: str | None) -> None:
    """Write an experiment file for your data, after checking it against the data."""
    if not root.is_dir():
        raise ConfigError(root, "is not a folder", "name the folder of your data with --root")
    if not is_utf8(f"{root.resolve()} {name}"):
        raise ConfigError(root, "an experiment file is UTF-8; this path or name is not", "rename the folder")
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip(".-_")[:64] or source
    target = out or Path(f"{name}.toml")
    if target.exists():
        raise ConfigError(target, "exists already", "give another name with --out, or delete it")
    text = resource("configs", f"{source}.toml").decode()
    for key, value in (("name", name), ("root", str(root.resolve()))):
        quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # a TOML basic string, except for DEL
        line = f"{key} = {quoted}"
        text = re.sub(rf'^{key} = ".*"$', line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
    experiment = parse_experiment(text.encode(), where=target, base=target.parent)
    counts = _look(experiment.data)
    write_file(target.absolute(), text.encode())
    echo(f"wrote {target}: {counts}")
    echo(f"next: autolabel run {target}")


def _look(data: Data) -> str:
    """List the source without decoding: missing folders and labels show here, not after an hour."""
    from autolabel.data.build import plan

    found = plan(data)
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
