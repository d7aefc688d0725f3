"""Layouts that trunks are published in by themselves, as trained on ImageNet, and what lies beside them there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch

from autolabel.models.normalise import MEAN, STD
from autolabel.models.published import efficientnet, resnet
from autolabel.models.published.entries import Shapes
from autolabel.models.published.layout import TRUNK_NAME, TRUNKS, names_of
from autolabel.models.published.rows import AnyRow
from autolabel.models.trunk_weights import PREFIX
from autolabel.models.trunks import TRUNKS as BUILDERS
from autolabel.models.trunks.efficientnet import EfficientNet
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.resnet import ResNet
from autolabel.models.trunks.wide_resnet import WideResNet

Three = tuple[float, float, float]

# Beside the names a trunk has inside a published network.
OTHER: dict[type, Callable[[Any], tuple[AnyRow, ...]]] = {
    ResNet: lambda trunk: resnet.IMAGENET,
    EfficientNet: efficientnet.timm_rows,
}

# Where it is not that of ImageNet: how images were normalised.
NORMALISATION: dict[type, Callable[[Any], tuple[Three, Three]]] = {EfficientNet: efficientnet.normalisation}

# What classifies images there, and is left out.
CLASSIFIERS = ("classifier.", "fc.", "last_linear.")
MORE_CLASSIFIERS: dict[type, tuple[str, ...]] = {
    HRNet: ("incre_modules.", "downsamp_modules.", "final_layer.", "last_layer."),
    WideResNet: ("bn_out.",),
    EfficientNet: efficientnet.CLASSIFIERS,
}

# An entry that tells a relative which does not fit, and why it does not.
RELATIVES = {
    "conv1.0.weight": "its stem is three 3x3 convolutions (ResNet-C and -D), ours is one 7x7",
    "mod2.block1.bn1.weight": "its norms have an activation of their own (in-place ABN), ours a ReLU",
}


class TrunkLayout(NamedTuple):
    """One way that files name the entries of a trunk."""

    trunk: str
    names: Mapping[str, str]  # our key -> the file's
    state: Mapping[str, torch.Tensor]  # under our keys, without memory
    classifiers: tuple[str, ...]  # beginnings of keys
    taps: bool  # gives low-level features apart
    mean: Three = MEAN
    std: Three = STD

    @property
    def shapes(self) -> Shapes:
        return {self.names[key]: tuple(value.shape) for key, value in self.state.items()}


@cache
def trunk_layouts(name: str) -> tuple[TrunkLayout, ...]:
    """All of them, the one it has inside a network first; none where no layout is published."""
    with torch.device("meta"):
        trunk = BUILDERS[name]()
    kind = type(trunk)
    if kind not in TRUNKS:
        return ()
    state = trunk.state_dict(prefix=PREFIX)
    classifiers = CLASSIFIERS + MORE_CLASSIFIERS.get(kind, ())
    found = []
    mean, std = NORMALISATION[kind](trunk) if kind in NORMALISATION else (MEAN, STD)
    for rows in (TRUNKS[kind], *((OTHER[kind](trunk),) if kind in OTHER else ())):
        names = {key: their.removeprefix(f"{TRUNK_NAME}.") for key, their in names_of(trunk, rows, PREFIX).items()}
        found.append(TrunkLayout(name, names, state, classifiers, bool(trunk.taps), mean, std))
    return tuple(found)


def why_not(weights: Collection[str]) -> str:
    """What is known of a relative's file; empty where nothing is."""
    return next((f": {why}" for key, why in RELATIVES.items() if key in weights), "")
