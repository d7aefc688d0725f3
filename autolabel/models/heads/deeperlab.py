"""DeeperLab's decoder (Yang et al., arXiv 1902.05093, section 3): pixels move into channels and back, so that wide
convolutions run at the trunk's stride and nothing is interpolated."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from autolabel.models.heads.aspp import ASPP, BRANCHES
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import Conv, ConvNorm, Readout, SeparableConv
from autolabel.models.trunks import Features, Trunk

LOW = 32  # channels of the low-level features, before a block of pixels is stacked
LOW_STRIDE = 4  # of those features, and of the logits
KERNEL = 7


class DeeperLabHead(Head):
    """Logits at stride 4. At output stride 16 the two large convolutions have 16 `width` channels: the paper's 4096.

    The 7x7 convolutions are separable: a full one of 4096 channels would have 822 M weights.
    """

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.channels = width
        self.multiple = trunk.stride
        self.stride = LOW_STRIDE
        self.block = trunk.stride // LOW_STRIDE  # pixels of that stride a pixel of the trunk, in each direction
        area = self.block**2
        self.aspp = ASPP(trunk.channels, width, trunk.stride)
        self.low = Conv(trunk.taps[LOW_STRIDE], LOW)
        self.high = ConvNorm(BRANCHES * width, width)
        self.first = SeparableConv(width + LOW * area, width * area, KERNEL)
        self.second = SeparableConv(width * area, width * area, KERNEL)
        self.refine = SeparableConv(width, width, KERNEL)
        self.classifier = Readout(width, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        low = F.pixel_unshuffle(self.low(features.taps[LOW_STRIDE]), self.block)  # (B, 32 area, h, w)
        high = self.high(self.aspp(features.high))
        wide = self.second(self.first(torch.cat([high, low], dim=1)))  # (B, width area, h, w)
        fine = F.pixel_shuffle(wide, self.block)  # (B, width, block h, block w)
        return HeadOutput(fine, self.classifier(self.refine(fine)), None)
