"""Layouts that trunks are published in by themselves, as trained on ImageNet, and what lies beside them there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import NamedTuple

import torch

from autolabel.models.published import resnet
from autolabel.models.published.entries import Shapes
from autolabel.models.published.layout import TRUNK_NAME, TRUNKS, names_of
from autolabel.models.published.rows import Row
from autolabel.models.trunk_weights import PREFIX
from autolabel.models.trunks import TRUNKS as BUILDERS
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.resnet import ResNet
from autolabel.models.trunks.wide_resnet import WideResNet

# Beside the names a trunk has inside a published network.
OTHER: dict[type, tuple[tuple[Row, ...], ...]] = {ResNet: (resnet.IMAGENET,)}

# What classifies images there, and is left out.
CLASSIFIERS = ("classifier.", "fc.", "last_linear.")
MORE_CLASSIFIERS: dict[type, tuple[str, ...]] = {
    HRNet: ("incre_modules.", "downsamp_modules.", "final_layer.", "last_layer."),
    WideResNet: ("bn_out.",),
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
    for rows in (TRUNKS[kind], *OTHER.get(kind, ())):
        names = {key: their.removeprefix(f"{TRUNK_NAME}.") for key, their in names_of(trunk, rows, PREFIX).items()}
        found.append(TrunkLayout(name, names, state, classifiers, bool(trunk.taps)))
    return tuple(found)


def why_not(weights: Collection[str]) -> str:
    """What is known of a relative's file; empty where nothing is."""
    return next((f": {why}" for key, why in RELATIVES.items() if key in weights), "")
