"""The needs of a step with a network beyond those of all steps: libraries, and the device it really computes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autolabel.artifacts import needs_transformers
from autolabel.config.base import Config
from autolabel.config.networks import TrainConfig
from autolabel.config.schema import RuntimeConfig
from autolabel.flow.environment import Uses
from autolabel.hardware import resolve_device, training_device
from autolabel.stages.foreign import FOREIGN_FILE, is_foreign
from autolabel.store import Artefact

_TIMM, _ONNX = ("timm", "torchvision"), ("onnxruntime",)  # timm imports torchvision
_TRANSFORMERS = ("transformers",)


def training_uses(settings: TrainConfig, inputs: Mapping[str, Artefact], runtime: RuntimeConfig) -> Uses:
    """The needs of a training."""
    of_teacher = "initial" in inputs and needs_transformers(inputs["initial"])
    return Uses(_of_network(settings) + (_TRANSFORMERS if of_teacher else ()), training_device(runtime.device))


def network_uses(settings: Config, inputs: Mapping[str, Artefact], runtime: RuntimeConfig) -> Uses:
    """The needs of a step that runs the network of its input `model`. A foreign teacher computes on the CPU."""
    model = inputs["model"]
    if is_foreign(model):
        return Uses(_ONNX if FOREIGN_FILE.read(model)["kind"] == "onnx" else (), "cpu")
    settings_of_model: Mapping[str, Any] = model.provenance.get("key", {}).get("settings", {})
    trunk = str((settings_of_model.get("model") or {}).get("trunk", ""))
    return Uses(_of_trunk(trunk) + (_TRANSFORMERS if needs_transformers(model) else ()), runtime.device)


def infer_uses(settings: Config, inputs: Mapping[str, Artefact], runtime: RuntimeConfig) -> Uses:
    """On CUDA also the batch and whether passes are compiled: they may change the last bits of sums."""
    uses = network_uses(settings, inputs, runtime)
    if not resolve_device(uses.device or runtime.device).startswith("cuda"):
        return uses
    return uses._replace(more={"batch": runtime.infer_batch, "compile": runtime.compile})


def _of_trunk(trunk: str) -> tuple[str, ...]:
    return _TIMM if trunk.startswith("timm:") else ()


def _of_network(settings: TrainConfig) -> tuple[str, ...]:
    """A weights file may hold a network of transformers."""
    may_be = settings.huggingface is not None or isinstance(settings.weights, Path)
    return _of_trunk(settings.model.trunk) + (_TRANSFORMERS if may_be else ())
