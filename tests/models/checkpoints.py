"""Checkpoints in published layouts, written from random weights."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch

from autolabel.models import SegmentationModel, build_model, published_state

SMALL = {"head_channels": 24, "key_channels": 8, "attention_channels": 16}
# The other entries of checkpoints of NVIDIA/semantic-segmentation.
BESIDE: dict[str, Any] = {
    "epoch": 174,
    "arch": "ocrnet.HRNet_Mscale",
    "num_classes": 19,
    "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.005}]},
    "mean_iu": 0.847,
    "command": "--dataset cityscapes",
}


def network(trunk: str, head: str, fusion: str, classes: int = 19) -> SegmentationModel:
    """A network with random norms, so that no two weights are interchangeable."""
    torch.manual_seed(0)
    model = build_model(SMALL | {"trunk": trunk, "head": head, "fusion": fusion}, classes).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            module.num_batches_tracked.fill_(7)
    return model


def published(model: SegmentationModel) -> dict[str, torch.Tensor]:
    """The published state with the prefix of a data-parallel wrapper."""
    return {f"module.{key}": value.detach().contiguous() for key, value in published_state(model).items()}


def trunk_entries(model: SegmentationModel) -> dict[str, torch.Tensor]:
    """The entries of the trunk in the published state."""
    found = {key.removeprefix("module."): value for key, value in published(model).items()}
    return {k.partition(".")[2]: v for k, v in found.items() if k.startswith(("backbone.", "trunk."))}


def saved(content: object, *, old: bool = False) -> bytes:
    """The bytes of torch.save; `old` selects the format before PyTorch 1.6."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def same_output(ours: SegmentationModel, other: SegmentationModel, size: tuple[int, int] = (64, 96)) -> bool:
    """Exactly the same logits of every pass."""
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a, b = ours.eval()(images), other.eval()(images)
    scales: Mapping[float, torch.Tensor] = a.per_scale
    return torch.equal(a.fused, b.fused) and all(torch.equal(v, b.per_scale[s]) for s, v in scales.items())
