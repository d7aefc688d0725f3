"""`autolabel export`: results in formats that other software reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autolabel.cli.options import echo, json_option, parse_scales, parse_size, print_json, quiet_option, size
from autolabel.errors import ConfigError
from autolabel.hub.record import CONFIG
from autolabel.progress import Progress
from autolabel.store import Artefact, check_place, write_folder

if TYPE_CHECKING:
    from autolabel.model_export.model import ExportedForm
    from autolabel.models import Network, NetworkCard


@click.group()
def export() -> None:
    """Export results in formats that need no autolabel."""


@export.command("model")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for the files.")
@click.option(
    "--format", "formats", default="safetensors,torch", show_default=True, help="Of safetensors, torch and onnx."
)
@click.option("--size", "size_text", metavar="HxW", help="Image size of the ONNX model, e.g. 1024x2048.")
@click.option("--scales", default="1", show_default=True, help="What the network looks at; 1.0 among them.")
@json_option
@quiet_option
def export_model(
    weights: Path, out: Path, formats: str, size_text: str | None, scales: str, as_json: bool, quiet: bool
) -> None:
    """Export the network of WEIGHTS with a config and a model card.

    WEIGHTS is a weights file, a teacher or student artefact, or a Hugging Face folder (SegFormer or UperNet). Each
    exported form runs once and is compared with the network before anything is written.
    """
    wanted = list(dict.fromkeys(formats.split(",")))
    image_size = None if size_text is None else parse_size(size_text)
    result = _export(weights, out, wanted, image_size, parse_scales(scales), quiet)
    if as_json:
        print_json({"out": str(out), **result})
        return
    for name, file in result["files"].items():
        echo(f"{name:18} {size(file['bytes']):>9}  {_verdict(file['verified'])}")
    echo(f"exported to {out}")


def _export(
    weights: Path,
    out: Path,
    formats: list[str],
    image_size: tuple[int, int] | None,
    scales: tuple[float, ...],
    quiet: bool,
) -> dict[str, Any]:
    """Check everything before the first form is made; return what `--json` prints."""
    from autolabel.model_export.model import ExportInput, check_formats, describe, folder, make
    from autolabel.model_export.network import exportable

    if out.exists() or out.is_symlink():
        raise ConfigError(out, "exists already", "give a new folder with --out")
    check_place(out)
    check_formats(formats, image_size)
    data, model, card = _open(weights)
    handover = ExportInput(exportable(model, card, scales, weights), card, data, scales, image_size)
    made: list[ExportedForm] = []
    with Progress(total=len(formats), desc="export", unit="form", quiet=quiet) as bar:
        for name in formats:
            made.append(make(name, handover))
            bar.update(form=name)
    config = describe(handover, made, _trained(weights))
    write_folder(out.absolute(), folder(made, config).items())
    return config


def _open(path: Path) -> tuple[bytes, Network, NetworkCard]:
    """The network and the bytes of its weights file. For a Hugging Face folder the bytes are made here."""
    from autolabel.cli.networks import open_network, read_model, trained_network
    from autolabel.models.checkpoint import network_to_bytes

    if (path / CONFIG).is_file():
        model, card = open_network(path)
        return network_to_bytes(model, card), model, card
    data = read_model(path)
    return data, *trained_network(data, path)


def _trained(weights: Path) -> dict[str, Any]:
    """The training that an artefact states; nothing for other weights."""
    if not (weights / "COMMIT").is_file():
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
