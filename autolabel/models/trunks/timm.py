"""Trunks from timm (extra `timm`): any of its networks that extracts features from images of any size.

A network is probed with several sets of options on the meta device, where nothing is computed. Its features must have
the strides and channels that timm declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from autolabel.distribution import install_command
from autolabel.errors import SettingError
from autolabel.models.trunks.trunk import Features, Trunk
from autolabel.suggest import did_you_mean

PIP = install_command("timm")
COARSER = "_os16"  # suffix of the name, as for the built-in trunks
SKIP_STRIDES = (2, 4, 8, 16)  # of features that heads may read as skip connections
PROBE = (3, 5)  # height and width of the probe image, in multiples of the network's coarsest stride


@dataclass(frozen=True)
class Plan:
    """How to build a network, and the strides and channels of its levels."""

    options: dict[str, Any]  # of timm.create_model
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    channels_last: bool  # maps are (B, h, w, C)


class TimmTrunk(Trunk):
    """Features are the last level; skip connections are the last level of each finer stride from 2 to 16.

    The weights are randomly initialised by timm.
    """

    def __init__(self, network: nn.Module, plan: Plan) -> None:
        super().__init__()
        self.network = network
        self.channels_last = plan.channels_last
        *lower, self.stride = plan.strides
        self.channels = plan.channels[-1]
        self.size_divisor = max(plan.strides)
        self.levels = {
            stride: level for level, stride in enumerate(lower) if stride in SKIP_STRIDES and stride < self.stride
        }
        self.skip_channels = {stride: plan.channels[level] for stride, level in self.levels.items()}

    def forward(self, images: torch.Tensor) -> Features:
        maps = self.network(images)
        if self.channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return Features(maps[-1], {stride: maps[level] for stride, level in self.levels.items()})


def timm_trunk(name: str) -> TimmTrunk:
    """The network that timm calls `name`, dilated to output stride 8 if it supports it, or 16 for a name in `_os16`.

    ConfigError if timm is missing or cannot be imported, has no such network, or the network cannot be a trunk.
    """
    timm = _import_timm(name)
    architecture = name.removesuffix(COARSER)
    known = timm.list_models()
    if architecture not in known:  # so timm never takes the name for an address or a folder of weights
        near = did_you_mean(architecture.partition(".")[0], known)
        remedy = f"{near} timm.list_models() lists all {len(known)}".strip()
        raise SettingError("model.trunk", f"timm has no network {architecture!r}", remedy)
    plan = _plan(timm, architecture, 8 if name == architecture else 16)
    return TimmTrunk(_create(timm, architecture, plan.options), plan)


def _import_timm(name: str) -> ModuleType:
    try:
        return import_module("timm")
    except ModuleNotFoundError as error:
        what = f"'timm:{name}' needs {error.name}, which is not installed"
        raise SettingError("model.trunk", what, PIP) from None
    except Exception as error:  # a torchvision built for another torch raises many kinds of error
        remedy = f"its torchvision must be built for this torch: {PIP} in an environment of its own"
        raise SettingError("model.trunk", f"timm cannot be imported: {_reason(error)}", remedy) from None


def _create(timm: ModuleType, name: str, options: dict[str, Any]) -> nn.Module:
    trunk: nn.Module = timm.create_model(name, pretrained=False, features_only=True, **options)
    return trunk


def _plan(timm: ModuleType, name: str, stride: int) -> Plan:
    """The first set of options with which the network extracts regular features from an image of another size."""
    candidates: tuple[dict[str, Any], ...] = (
        {"output_stride": stride},  # convolutional networks that can be dilated
        {"dynamic_img_size": True, "dynamic_img_pad": True},  # vision transformers
        {"strict_img_size": False},  # Swin transformers
        {},
    )
    reason = ""
    for options in candidates:
        try:
            return _probe(timm, name, options)
        except Exception as error:  # each family of networks raises its own type
            reason = _reason(error)
    why = f"timm's {name!r} cannot be a trunk for images of any size: {reason}"
    raise SettingError("model.trunk", why, "choose another network")


def _probe(timm: ModuleType, name: str, options: dict[str, Any]) -> Plan:
    with torch.device("meta"), torch.no_grad():
        network = _create(timm, name, options).eval()
        levels: Any = network.feature_info
        strides, channels = tuple(levels.reduction()), tuple(levels.channels())
        height, width = (n * max(strides) for n in PROBE)
        maps = network(torch.empty(1, 3, height, width))
    shapes = [tuple(x.shape) for x in maps]
    sizes = [(height // stride, width // stride) for stride in strides]
    if shapes == [(1, c, *size) for c, size in zip(channels, sizes, strict=True)]:
        return Plan(options, strides, channels, channels_last=False)
    if shapes == [(1, *size, c) for c, size in zip(channels, sizes, strict=True)]:
        return Plan(options, strides, channels, channels_last=True)
    raise ValueError(f"for {height} x {width} pixels, its levels of strides {list(strides)} have shapes {shapes}")


def _reason(error: Exception) -> str:
    """The first line of the error's message, or its type if it has none."""
    return next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
