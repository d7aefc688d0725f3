"""Trunks: images -> features. A new trunk is one entry of `TRUNKS`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from autolabel.models.trunks.hrnet import HRNet, HRNetShape
from autolabel.models.trunks.resnet import ResNet, ResNetShape
from autolabel.models.trunks.trunk import Features, Trunk

RESNET50 = ResNetShape((3, 4, 6, 3))
RESNET101 = ResNetShape((3, 4, 23, 3))

TRUNKS: dict[str, Callable[[], Trunk]] = {
    "hrnet_w48": partial(HRNet, HRNetShape((48, 96, 192, 384), (1, 4, 3))),
    "hrnet_w32": partial(HRNet, HRNetShape((32, 64, 128, 256), (1, 4, 3))),
    "hrnet_w18": partial(HRNet, HRNetShape((18, 36, 72, 144), (1, 4, 3))),
    "hrnet_w18_small_v2": partial(HRNet, HRNetShape((18, 36, 72, 144), (1, 3, 2), blocks=2, stage1=(2, 64))),
    "hrnet_w18_small_v1": partial(HRNet, HRNetShape((16, 32, 64, 128), (1, 1, 1), blocks=2, stage1=(1, 32))),
    "resnet50": partial(ResNet, RESNET50, 8),
    "resnet50_os16": partial(ResNet, RESNET50, 16),
    "resnet101": partial(ResNet, RESNET101, 8),
    "resnet101_os16": partial(ResNet, RESNET101, 16),
    # Our own, for demos and tests on a CPU.
    "hrnet_tiny": partial(HRNet, HRNetShape((16, 24, 48, 96), (1, 1, 1), blocks=1, stage1=(1, 16), stem=(16, 24))),
    "resnet_tiny": partial(ResNet, ResNetShape((1, 1, 1, 1), width=8), 8),
    "resnet_tiny_os16": partial(ResNet, ResNetShape((1, 1, 1, 1), width=8), 16),
}

__all__ = ["TRUNKS", "Features", "Trunk"]
