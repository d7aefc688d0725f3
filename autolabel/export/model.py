"""A network in the forms asked for: their files, each checked, with a config and a card that say how to use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from autolabel import __version__
from autolabel.errors import ConfigError
from autolabel.export.card import render_card
from autolabel.export.compare import Difference, check, compare
from autolabel.export.network import Exportable
from autolabel.export.onnx_model import INPUT, OUTPUT, load_onnx, onnx_model, require_onnx
from autolabel.export.program import load_program, torch_program
from autolabel.models import NetworkCard
from autolabel.store import sha256_bytes

SCHEMA_VERSION = 1
CONFIG, README = "config.json", "README.md"


class ExportedForm(NamedTuple):
    """One form of a network."""

    name: str
    data: bytes
    facts: dict[str, Any]  # what the config says of it besides bytes and sha256
    differences: list[Difference]  # from the network


@dataclass(frozen=True)
class ExportInput:
    """What is exported, and how it will be used."""

    network: Exportable
    card: NetworkCard
    weights: bytes  # of its file
    scales: tuple[float, ...]
    size: tuple[int, int] | None  # of the images of an ONNX model: height, width

    def short_card(self) -> str:
        """What travels inside the files: how to read their input and output."""
        card = self.card
        return json.dumps({"class_names": card.class_names, "mean": card.mean, "std": card.std, "scales": self.scales})


def _safetensors(handover: ExportInput) -> ExportedForm:
    return ExportedForm("model.safetensors", handover.weights, {}, [])


def _torch(handover: ExportInput) -> ExportedForm:
    module, smallest = handover.network.module, handover.network.smallest_side
    data = torch_program(module, smallest, handover.short_card())
    run = load_program(data)
    # Neither the sizes nor the batch that it was traced with.
    differences = [compare(run, module, shape) for shape in ((1, smallest, smallest + 9), (3, 2 * smallest, smallest))]
    return ExportedForm("model.pt2", data, {"smallest_side": smallest}, differences)


def _onnx(handover: ExportInput) -> ExportedForm:
    assert handover.size is not None
    module = handover.network.module
    data = onnx_model(module, handover.size, handover.short_card())
    return ExportedForm(
        "model.onnx", data, {"size": handover.size}, [compare(load_onnx(data), module, (1, *handover.size))]
    )


FORMATS: dict[str, Callable[[ExportInput], ExportedForm]] = {
    "safetensors": _safetensors,
    "torch": _torch,
    "onnx": _onnx,
}


def check_formats(formats: Sequence[str], size: tuple[int, int] | None) -> None:
    """ConfigError unless these can be made here."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError("--format", f"unknown format {', '.join(unknown)!r}", f"known: {', '.join(FORMATS)}")
    if ("onnx" in formats) != (size is not None):
        what = "needs the size of its images" if size is None else "is of ONNX models only"
        raise ConfigError("onnx" if size is None else "--size", what, "--format onnx and --size HxW go together")
    if "onnx" in formats:
        require_onnx()


def make(name: str, handover: ExportInput) -> ExportedForm:
    """One form of the network. ExportError where it cannot be made or gives something else than the network."""
    made = FORMATS[name](handover)
    check(made.name, made.differences)
    return made


def folder(made: Sequence[ExportedForm], config: Mapping[str, Any]) -> dict[str, bytes]:
    """All files to hand over: the forms, and `config` for programs and for people."""
    papers = {CONFIG: json.dumps(config, indent=1).encode() + b"\n", README: render_card(config)}
    return {file.name: file.data for file in made} | papers


def describe(handover: ExportInput, made: Sequence[ExportedForm], trained: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says; `trained` is what is known of the training, by name."""
    card = handover.card
    return {
        "schema_version": SCHEMA_VERSION,
        "autolabel": __version__,
        "torch": torch.__version__,
        "title": handover.network.title,
        "description": handover.network.description,
        "model": handover.network.model,
        "class_names": list(card.class_names),
        "mean": list(card.mean),
        "std": list(card.std),
        "scales": list(handover.scales),
        "weights_sha256": sha256_bytes(handover.weights),
        "input": {"name": INPUT, "dtype": "float32", "shape": ["batch", 3, "height", "width"], "colour": "RGB"},
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["batch", card.num_classes, "height", "width"]},
        "trained": dict(trained) | card.extra,
        "files": {
            file.name: {
                "bytes": len(file.data),
                "sha256": sha256_bytes(file.data),
                **file.facts,
                "verified": [difference._asdict() for difference in file.differences],
            }
            for file in made
        },
    }
