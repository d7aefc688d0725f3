"""Parts of a network that keep their initial weights during training."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from autolabel.config.networks import FreezeConfig
from autolabel.errors import SettingError
from autolabel.models import HuggingFaceModel
from autolabel.models.trunks import Trunk


def trunk_of(model: nn.Module) -> nn.Module:
    """The feature extractor of a network: the part that pretrained weights fill."""
    if isinstance(model, HuggingFaceModel):
        return model.trunk
    trunk: nn.Module = model.trunk  # type: ignore[assignment]  # every other network has one
    return trunk


def freeze(model: nn.Module, settings: FreezeConfig) -> None:
    """Freeze parts of the trunk of a network in training mode, as the settings say.

    Frozen layers need no gradient, so a backward pass ends at the first of them. Their batch norms run as in inference.
    SettingError: the trunk does not know its layers by stride.
    """
    if not settings.is_any:
        return
    trunk = trunk_of(model)
    if settings.stride:
        for layer in _layers_up_to(trunk, settings.stride):
            layer.requires_grad_(False)
            for norm in batch_norms(layer):
                norm.eval()
    if settings.norms:
        for norm in batch_norms(trunk):
            norm.requires_grad_(False).eval()
    if settings.depthwise:
        for conv in trunk.modules():
            if isinstance(conv, nn.Conv2d) and conv.groups == conv.in_channels > 1:
                conv.weight.requires_grad_(False)


def batch_norms(model: nn.Module) -> Iterator[nn.Module]:
    return (module for module in model.modules() if isinstance(module, _BatchNorm))


def _layers_up_to(trunk: nn.Module, stride: int) -> list[nn.Module]:
    by_stride = trunk.layers_by_stride() if isinstance(trunk, Trunk) else []
    if not by_stride:
        what = "the layers of this trunk cannot be told apart by stride"
        raise SettingError("freeze.stride", what, "leave it out; freeze.norms and freeze.depthwise work for all trunks")
    return [layer for at, layer in by_stride if at <= stride]
