"""What a step with a network uses beyond what all steps use: libraries, and the device it really computes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autolabel.config.base import Config
from autolabel.config.networks import TrainConfig
from autolabel.config.schema import RuntimeConfig
from autolabel.flow.environment import Uses
from autolabel.hardware import resolve_device, training_device
from autolabel.stages.foreign import FOREIGN_FILE, is_foreign
from autolabel.store import Artefact

_TIMM, _ONNX = ("timm", "torchvision"), ("onnxruntime",)  # timm imports torchvision


def training_uses(settings: TrainConfig, inputs: Mapping[str, Artefact], runtime: RuntimeConfig) -> Uses:
    """Of a training."""
    return Uses(_of_trunk(settings.model.trunk), training_device(runtime.device))


def network_uses(settings: Config, inputs: Mapping[str, Artefact], runtime: RuntimeConfig) -> Uses:
    """Of a step that runs the network of its input `model`. A foreign teacher computes on the CPU."""
    model = inputs["model"]
    if is_foreign(model):
        return Uses(_ONNX if FOREIGN_FILE.read(model)["kind"] == "onnx" else (), "cpu")
    return Uses(_of_trunk(_trunk_of(model)), runtime.device)


def infer_uses(settings: Config, inputs: Mapping[str, Artefact], runtime: RuntimeConfig) -> Uses:
    """On CUDA also the batch and whether passes are compiled: they may change the last bits of sums."""
    uses = network_uses(settings, inputs, runtime)
    if not resolve_device(uses.device or runtime.device).startswith("cuda"):
        return uses
    return uses._replace(more={"batch": runtime.infer_batch, "compile": runtime.compile})


def _of_trunk(trunk: str) -> tuple[str, ...]:
    return _TIMM if trunk.startswith("timm:") else ()


def _trunk_of(model: Artefact) -> str:
    """The trunk in the settings that the network was trained with; empty if they are not known."""
    settings: Any = model.provenance.get("key", {}).get("settings", {})
    return str((settings.get("model") or {}).get("trunk", ""))
