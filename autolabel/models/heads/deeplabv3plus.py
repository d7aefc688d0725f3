"""DeepLabV3+ (Chen et al., arXiv 1802.02611): pyramid pooling, then low-level features bring the outlines back."""

from __future__ import annotations

import torch

from autolabel.models.heads.aspp import ASPP, BRANCHES
from autolabel.models.heads.conv import Classify
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import Conv
from autolabel.models.resize import resize
from autolabel.models.trunks import Features, Trunk

LOW = 48  # channels of the low-level features


class DeepLabV3PlusHead(Head):
    """The concatenation (48 + `width` channels, at the tap's stride) is what logits and attention both read."""

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.channels = LOW + width
        self.tap = self.stride = trunk.fine
        self.aspp = ASPP(trunk.channels, width, trunk.stride)
        self.low = Conv(trunk.taps[self.tap], LOW)
        self.high = Conv(BRANCHES * width, width)
        self.classify = Classify(self.channels, width, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        low = self.low(features.taps[self.tap])
        high = resize(self.high(self.aspp(features.high)), (low.shape[-2], low.shape[-1]))
        joined = torch.cat([low, high], dim=1)
        return HeadOutput(joined, self.classify(joined), None)
