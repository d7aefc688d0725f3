"""Exports a network in the requested forms: checked files, with a config and a card that explain their use."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from autolabel import __version__
from autolabel.errors import ConfigError
from autolabel.model_export.card import render_card
from autolabel.model_export.compare import Difference, check, compare
from autolabel.model_export.network import Exportable
from autolabel.model_export.onnx_model import INPUT, OUTPUT, load_onnx, onnx_model, require_onnx
from autolabel.model_export.program import load_program, torch_program
from autolabel.models import NetworkCard
from autolabel.store import sha256_bytes

SCHEMA_VERSION = 1
CONFIG, README = "config.json", "README.md"


class ExportedForm(NamedTuple):
    """One form of a network."""

    name: str
    data: bytes
    facts: dict[str, Any]  # its entries in the config besides bytes and sha256
    differences: list[Difference]  # from the network


@dataclass(frozen=True)
class ExportInput:
    """The network to export, and its use."""

    network: Exportable
    card: NetworkCard
    weights: bytes  # bytes of the weights file
    scales: tuple[float, ...]
    size: tuple[int, int] | None  # image size of an ONNX model: height, width

    def short_card(self) -> str:
        """The JSON text inside the files: how to read their input and output."""
        card = self.card
        return json.dumps({"class_names": card.class_names, "mean": card.mean, "std": card.std, "scales": self.scales})


def _safetensors(export: ExportInput) -> ExportedForm:
    return ExportedForm("model.safetensors", export.weights, {}, [])


def _torch(export: ExportInput) -> ExportedForm:
    module, smallest = export.network.module, export.network.smallest_side
    data = torch_program(module, smallest, export.short_card())
    run = load_program(data)
    # Other sizes and batches than in the trace.
    differences = [compare(run, module, shape) for shape in ((1, smallest, smallest + 9), (3, 2 * smallest, smallest))]
    return ExportedForm("model.pt2", data, {"smallest_side": smallest}, differences)


def _onnx(export: ExportInput) -> ExportedForm:
    assert export.size is not None
    module = export.network.module
    data = onnx_model(module, export.size, export.short_card())
    return ExportedForm(
        "model.onnx", data, {"size": export.size}, [compare(load_onnx(data), module, (1, *export.size))]
    )


FORMATS: dict[str, Callable[[ExportInput], ExportedForm]] = {
    "safetensors": _safetensors,
    "torch": _torch,
    "onnx": _onnx,
}


def check_formats(formats: Sequence[str], size: tuple[int, int] | None) -> None:
    """ConfigError unless these forms can be made here."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError("--format", f"unknown format {', '.join(unknown)!r}", f"known: {', '.join(FORMATS)}")
    if ("onnx" in formats) != (size is not None):
        what = "needs the size of its images" if size is None else "applies to ONNX models only"
        raise ConfigError("onnx" if size is None else "--size", what, "--format onnx and --size HxW go together")
    if "onnx" in formats:
        require_onnx()


def make(name: str, export: ExportInput) -> ExportedForm:
    """One form of the network. ExportError if it cannot be made or its output differs from the network's."""
    form = FORMATS[name](export)
    check(form.name, form.differences)
    return form


def folder(forms: Sequence[ExportedForm], config: Mapping[str, Any]) -> dict[str, bytes]:
    """All files of the export: the forms, and `config` for programs and for people."""
    texts = {CONFIG: json.dumps(config, indent=1).encode() + b"\n", README: render_card(config)}
    return {file.name: file.data for file in forms} | texts


def describe(export: ExportInput, forms: Sequence[ExportedForm], trained: Mapping[str, Any]) -> dict[str, Any]:
    """The content of config.json; `trained` holds the known facts about the training, by name."""
    card = export.card
    return {
        "schema_version": SCHEMA_VERSION,
        "autolabel": __version__,
        "torch": torch.__version__,
        "title": export.network.title,
        "description": export.network.description,
        "model": export.network.model,
        "class_names": list(card.class_names),
        "mean": list(card.mean),
        "std": list(card.std),
        "scales": list(export.scales),
        "weights_sha256": sha256_bytes(export.weights),
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
            for file in forms
        },
    }
