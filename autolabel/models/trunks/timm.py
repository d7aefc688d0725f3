"""Trunks of timm (extra `timm`): any of its networks that gives features of images of any size.

A network is tried in the `WAYS` below, on the meta device, where nothing is computed: what it says of itself must be
what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from autolabel.errors import ConfigError
from autolabel.models.trunks.trunk import Features, Trunk
from autolabel.suggest import did_you_mean

PIP = "pip install 'autolabel[timm]'"
COARSER = "_os16"  # ends the name, as those of our own trunks
TAPS = (2, 4, 8, 16)  # strides of features that decoders join
PROBE = (3, 5)  # height and width of the image a network is tried on, in multiples of its coarsest stride


@dataclass(frozen=True)
class Plan:
    """How to build a network, and what it then gives, level by level."""

    way: dict[str, Any]
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    channels_last: bool  # (B, h, w, C)


class TimmTrunk(Trunk):
    """The last level; as taps the finer levels of strides 2 to 16, the last of each. Random weights by timm's rules."""

    def __init__(self, network: nn.Module, plan: Plan) -> None:
        super().__init__()
        self.network = network
        self.channels_last = plan.channels_last
        *lower, self.stride = plan.strides
        self.channels = plan.channels[-1]
        self.multiple = max(plan.strides)
        self.levels = {stride: level for level, stride in enumerate(lower) if stride in TAPS and stride < self.stride}
        self.taps = {stride: plan.channels[level] for stride, level in self.levels.items()}

    def forward(self, images: torch.Tensor) -> Features:
        maps = self.network(images)
        if self.channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return Features(maps[-1], {stride: maps[level] for stride, level in self.levels.items()})


def timm_trunk(name: str) -> TimmTrunk:
    """The network that timm calls `name`, dilated to output stride 8 where it can be, 16 if the name ends in `_os16`.

    ConfigError: timm is missing or does not import, knows no such network, or its features cannot be used.
    """
    timm = _import_timm(name)
    architecture = name.removesuffix(COARSER)
    known = timm.list_models()
    if architecture not in known:  # nor does timm then take it for an address or a folder to read weights from
        near = did_you_mean(architecture.partition(".")[0], known)
        remedy = f"{near} timm.list_models() lists all {len(known)}".strip()
        raise ConfigError("model.trunk", f"timm has no network {architecture!r}", remedy)
    plan = _plan(timm, architecture, 8 if name == architecture else 16)
    return TimmTrunk(_create(timm, architecture, plan.way), plan)


def _import_timm(name: str) -> ModuleType:
    try:
        return import_module("timm")
    except ModuleNotFoundError as error:
        what = f"'timm:{name}' needs {error.name}, which is not installed"
        raise ConfigError("model.trunk", what, PIP) from None
    except Exception as error:  # a torchvision built for another torch fails in many ways
        remedy = f"its torchvision must be built for this torch: {PIP} in an environment of its own"
        raise ConfigError("model.trunk", f"timm does not import: {_reason(error)}", remedy) from None


def _create(timm: ModuleType, name: str, way: dict[str, Any]) -> nn.Module:
    trunk: nn.Module = timm.create_model(name, pretrained=False, features_only=True, **way)
    return trunk


def _plan(timm: ModuleType, name: str, stride: int) -> Plan:
    """The first way in which the network gives regular features of an image of a size that is not its own."""
    ways: tuple[dict[str, Any], ...] = (
        {"output_stride": stride},  # convolutional networks that can be dilated
        {"dynamic_img_size": True, "dynamic_img_pad": True},  # vision transformers
        {"strict_img_size": False},  # Swin transformers
        {},
    )
    reason = ""
    for way in ways:
        try:
            return _probe(timm, name, way)
        except Exception as error:  # each family says in its own way that it cannot
            reason = _reason(error)
    why = f"timm's {name!r} cannot be a trunk for images of any size: {reason}"
    raise ConfigError("model.trunk", why, "take another network")


def _probe(timm: ModuleType, name: str, way: dict[str, Any]) -> Plan:
    with torch.device("meta"), torch.no_grad():
        network = _create(timm, name, way).eval()
        levels: Any = network.feature_info
        strides, channels = tuple(levels.reduction()), tuple(levels.channels())
        height, width = (n * max(strides) for n in PROBE)
        maps = network(torch.empty(1, 3, height, width))
    shapes = [tuple(x.shape) for x in maps]
    sizes = [(height // stride, width // stride) for stride in strides]
    if shapes == [(1, c, *size) for c, size in zip(channels, sizes, strict=True)]:
        return Plan(way, strides, channels, channels_last=False)
    if shapes == [(1, *size, c) for c, size in zip(channels, sizes, strict=True)]:
        return Plan(way, strides, channels, channels_last=True)
    raise ValueError(f"of {height} x {width} pixels, its levels of strides {list(strides)} have shapes {shapes}")


def _reason(error: Exception) -> str:
    """The first line of its message, or its type where it has none."""
    return next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
