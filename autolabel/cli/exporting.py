"""`autolabel export`: what was made, in forms that others use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autolabel.cli.options import json_option, parse_scales, parse_size, print_json, quiet_option, size
from autolabel.errors import ConfigError
from autolabel.progress import Progress
from autolabel.store import Artefact, write_folder

if TYPE_CHECKING:
    from autolabel.export.model import Made


@click.group()
def export() -> None:
    """Hand over what was made, in forms that need no autolabel."""


@export.command("model")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for the files.")
@click.option(
    "--format", "formats", default="safetensors,torch", show_default=True, help="Of safetensors, torch and onnx."
)
@click.option("--size", "size_text", metavar="HxW", help="Of the images of the ONNX model, e.g. 1024x2048.")
@click.option("--scales", default="1", show_default=True, help="What the network looks at; 1.0 among them.")
@json_option
@quiet_option
def export_model(
    weights: Path, out: Path, formats: str, size_text: str | None, scales: str, as_json: bool, quiet: bool
) -> None:
    """Export the network of WEIGHTS (a weights file, or a teacher or student artefact), with a config and a card.

    Each form is run and compared with the network before anything is written.
    """
    wanted = list(dict.fromkeys(formats.split(",")))
    image_size = None if size_text is None else parse_size(size_text)
    result = _export(weights, out, wanted, image_size, parse_scales(scales), quiet)
    if as_json:
        print_json({"out": str(out), **result})
        return
    for name, file in result["files"].items():
        click.echo(f"{name:18} {size(file['bytes']):>9}  {_verdict(file['verified'])}")
    click.echo(f"exported to {out}")


def _export(
    weights: Path,
    out: Path,
    formats: list[str],
    image_size: tuple[int, int] | None,
    scales: tuple[float, ...],
    quiet: bool,
) -> dict[str, Any]:
    """Everything is checked before the first form is made; returns what `--json` prints."""
    from autolabel.cli.predicting import read_model
    from autolabel.export.model import Handover, check_formats, describe, folder, make
    from autolabel.models import weights_from_bytes

    if out.exists() or out.is_symlink():
        raise ConfigError(out, "exists already", "give a new folder with --out")
    check_formats(formats, image_size)
    data = read_model(weights)
    model, card = weights_from_bytes(data, weights)
    handover = Handover(model, card, data, scales, image_size)
    handover.network()
    made: list[Made] = []
    with Progress(total=len(formats), desc="export", unit="form", quiet=quiet) as bar:
        for name in formats:
            made.append(make(name, handover))
            bar.update(form=name)
    config = describe(handover, made, _trained(weights))
    write_folder(out.absolute(), folder(made, config).items())
    return config


def _trained(weights: Path) -> dict[str, Any]:
    """What an artefact says of its training; nothing of a file."""
    if not weights.is_dir():
        return {}
    artefact = Artefact.open(weights)
    return artefact.meta | {"artefact": artefact.digest}


def _verdict(verified: list[dict[str, Any]]) -> str:
    if not verified:
        return "the weights as they are"
    sizes = ", ".join("{1}x{2}".format(*difference["shape"]) for difference in verified)
    largest = max(difference["largest"] for difference in verified)
    spread = min(difference["spread"] for difference in verified)
    labels = min(difference["labels"] for difference in verified)
    return (
        f"at {sizes}: logits differ by up to {largest:.2g} (spread {spread:.3g}), {100 * labels:.2f} % of labels agree"
    )


COMMANDS = [export]
