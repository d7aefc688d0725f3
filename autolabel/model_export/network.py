"""The module of a network that is exported: from normalised images to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from autolabel.errors import ConfigError
from autolabel.model_export.program import smallest_side
from autolabel.models import Network, NetworkCard, WeightsCard
from autolabel.models.huggingface import HuggingFaceModel
from autolabel.models.huggingface.network import SMALLEST
from autolabel.models.model import MultiscaleWrapper, SegmentationModel
from autolabel.models.weights_file import HuggingFaceCard


class Exportable(NamedTuple):
    module: nn.Module  # images (B, 3, H, W) -> logits (B, K, H, W), in eval mode
    smallest_side: int  # of the input images of a program
    title: str
    description: str  # continues the sentence "It is ..."
    model: dict[str, Any]  # the facts to build it again


class OneScale(nn.Module):
    """A Hugging Face network with the classes of its card."""

    def __init__(self, model: HuggingFaceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images).fused
        return logits


def exportable(model: Network, card: NetworkCard, scales: Sequence[float], where: object) -> Exportable:
    """ConfigError for scales that the fusion cannot fuse or a Hugging Face network without logits per class."""
    model.eval().requires_grad_(False)
    if isinstance(model, SegmentationModel):
        assert isinstance(card, WeightsCard), type(card)
        return _ours(MultiscaleWrapper(model, scales), card)
    assert isinstance(card, HuggingFaceCard), type(card)
    return _hugging_face(model, card, scales, where)


def _ours(network: MultiscaleWrapper, card: WeightsCard) -> Exportable:
    table = card.table
    scales = ", ".join(f"{scale:g}" for scale in sorted(network.scales))
    description = f"trunk `{table.trunk}`, head `{table.head}`, fusion `{table.fusion}`, at scales {scales}"
    title = f"{table.trunk} + {table.head}"
    return Exportable(network, smallest_side(network.scales), title, description, table.model_dump(mode="json"))


def _hugging_face(model: HuggingFaceModel, card: HuggingFaceCard, scales: Sequence[float], where: object) -> Exportable:
    title = model.architecture.title
    if set(scales) != {1.0}:
        raise ConfigError("--scales", f"{title} networks are exported at scale 1", "leave it out")
    if not model.architecture.trainable:
        raise ConfigError(
            where, f"{title} networks give no logits per class and are not exported", "SegFormer, UperNet are"
        )
    if not model.has_our_classes:
        raise ConfigError(where, "has classes of its own, which count for those of an experiment", "export its folder")
    description = f"{title} of the transformers library, at scale 1"
    return Exportable(OneScale(model), SMALLEST, title, description, {"huggingface": card.huggingface})
