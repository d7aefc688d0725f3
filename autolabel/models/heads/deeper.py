"""The decoder that NVIDIA/semantic-segmentation publishes as `deeper.*`: pyramid pooling, then up by factors of two,
joining low-level features of stride 4 and of stride 2 on the way."""

from __future__ import annotations

import torch

from autolabel.models.heads.aspp import ASPP, BRANCHES
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import Conv, ConvNorm, Readout
from autolabel.models.resize import resize
from autolabel.models.trunks import Features, Trunk

AT_TWO, AT_FOUR = 32, 64  # channels of the low-level features


class DeeperHead(Head):
    """Logits at stride 2. The last features before them are what attention reads; it is not published with one."""

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.channels = width
        self.multiple = trunk.stride
        self.stride = 2
        self.aspp = ASPP(trunk.channels, width, trunk.stride)
        self.at_two = Conv(trunk.taps[2], AT_TWO)
        self.at_four = Conv(trunk.taps[4], AT_FOUR)
        self.high = Conv(BRANCHES * width, width)
        self.join_four = ConvNorm(width + AT_FOUR, width, 5)
        self.join_two = ConvNorm(width + AT_TWO, width, 5)
        self.classifier = Readout(width, num_classes, bias=False)

    def forward(self, features: Features) -> HeadOutput:
        x = self.high(self.aspp(features.high))
        x = self.join_four(_beside(x, self.at_four(features.taps[4])))
        x = self.join_two(_beside(x, self.at_two(features.taps[2])))
        return HeadOutput(x, self.classifier(x), None)


def _beside(x: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    return torch.cat([resize(x, (low.shape[-2], low.shape[-1])), low], dim=1)
