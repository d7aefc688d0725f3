"""Trunks: images -> features. A new trunk is one entry of `TRUNKS`, a library of trunks one entry of `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from autolabel.models.lookup import choose
from autolabel.models.trunks.efficientnet import TINY, EfficientNet, EfficientNetShape, efficientnets
from autolabel.models.trunks.hrnet import HRNet, HRNetShape
from autolabel.models.trunks.resnet import ResNet, ResNetShape
from autolabel.models.trunks.timm import timm_trunk
from autolabel.models.trunks.trunk import Features, Trunk
from autolabel.models.trunks.wide_resnet import WideResNet, wide_resnet_shape
from autolabel.models.trunks.xception import Xception, xception_shape

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
    "wide_resnet38": partial(WideResNet, wide_resnet_shape(64, (3, 3, 6, 3, 1, 1))),
    "xception71": partial(Xception, xception_shape(32, 728, 16)),
    **efficientnets(),
    # Small trunks for demos and tests on a CPU. A strided 1x1 convolution must read at least 16 channels: below that,
    # the gradient of its weights corrupts memory in oneDNN (uxlfoundation/oneDNN issue 6035).
    "hrnet_tiny": partial(HRNet, HRNetShape((16, 24, 48, 96), (1, 1, 1), blocks=1, stage1=(1, 16), stem=(16, 24))),
    "resnet_tiny": partial(ResNet, ResNetShape((1, 1, 1, 1), width=8), 8),
    "resnet_tiny_os16": partial(ResNet, ResNetShape((1, 1, 1, 1), width=8), 16),
    "wide_resnet_tiny": partial(WideResNet, wide_resnet_shape(4, (1, 1, 1, 1, 1, 1))),
    "efficientnet_tiny_os8": partial(EfficientNet, EfficientNetShape(16, TINY), 8),
    "xception_tiny": partial(Xception, xception_shape(8, 32, 1)),
}

FAMILIES: dict[str, Callable[[str], Trunk]] = {
    "timm": timm_trunk
}  # name before the colon -> builder from the name after it


def build_trunk(name: str) -> Trunk:
    """The trunk `NAME` or `FAMILY:NAME`, randomly initialised; ConfigError for an unknown name."""
    family, colon, rest = name.partition(":")
    if colon:
        return choose("trunk", family, FAMILIES)(rest)
    return choose("trunk", name, TRUNKS, also=[f"{family}:NAME" for family in FAMILIES])()


__all__ = ["FAMILIES", "TRUNKS", "Features", "Trunk", "build_trunk"]
