"""Decoders after atrous spatial pyramid pooling (ASPP; Chen et al., arXiv 1706.05587, section 3.3).

- DeepLabV3+ (Chen et al., arXiv 1802.02611) joins one skip connection, which restores the outlines.
- `deeper.*` of NVIDIA/semantic-segmentation upsamples by factors of two and joins skip connections of strides 4 and 2.
- DeeperLab (Yang et al., arXiv 1902.05093, section 3) moves pixels into channels and back: its wide convolutions run at
  the trunk's stride, and nothing is interpolated.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from autolabel.errors import ConfigError
from autolabel.models.heads.conv import Classify
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import ClassifierConv, Conv, ConvNorm, SeparableConv
from autolabel.models.resize import resize
from autolabel.models.trunks import Features, Trunk

RATES = (6, 12, 18)  # at output stride 16; doubled at 8
BRANCHES = 2 + len(RATES)


class ASPP(nn.Module):
    """(B, `inputs`, h, w) -> (B, 5 `width`, h, w): image pooling, 1x1, and three dilated 3x3."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.point = ConvNorm(inputs, width)
        self.dilated = nn.ModuleList(ConvNorm(inputs, width, 3, dilation=rate * 16 // stride) for rate in RATES)
        self.pooled = ConvNorm(inputs, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and x.shape[0] == 1:
            # After pooling, the norm sees one value per channel and image: a single image has no variance.
            raise ConfigError("batch", "ASPP's image pooling cannot train on one image", "use at least 2 per device")
        pooled = self.pooled(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, x.shape[2], x.shape[3])
        return torch.cat([pooled, self.point(x), *(branch(x) for branch in self.dilated)], dim=1)


LOW = 48  # channels of the low-level features


class DeepLabV3PlusHead(Head):
    """Logits and attention read the concatenation (48 + `width` channels) at the stride of the skip connection."""

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.channels = LOW + width
        self.stride = trunk.low_level_stride
        self.aspp = ASPP(trunk.channels, width, trunk.stride)
        self.low = Conv(trunk.skip_channels[self.stride], LOW)
        self.high = Conv(BRANCHES * width, width)
        self.classify = Classify(self.channels, width, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        low = self.low(features.skips[self.stride])
        high = resize(self.high(self.aspp(features.high)), (low.shape[-2], low.shape[-1]))
        joined = torch.cat([low, high], dim=1)
        return HeadOutput(joined, self.classify(joined), None)


AT_TWO, AT_FOUR = 32, 64  # channels of the low-level features


class DeeperHead(Head):
    """Logits at stride 2. Attention reads the features before the classifier; the published network has none."""

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.channels = width
        self.size_divisor = trunk.stride
        self.stride = 2
        self.aspp = ASPP(trunk.channels, width, trunk.stride)
        self.at_two = Conv(trunk.skip_channels[2], AT_TWO)
        self.at_four = Conv(trunk.skip_channels[4], AT_FOUR)
        self.high = Conv(BRANCHES * width, width)
        self.join_four = ConvNorm(width + AT_FOUR, width, 5)
        self.join_two = ConvNorm(width + AT_TWO, width, 5)
        self.classifier = ClassifierConv(width, num_classes, bias=False)

    def forward(self, features: Features) -> HeadOutput:
        x = self.high(self.aspp(features.high))
        x = self.join_four(_upsample_and_join(x, self.at_four(features.skips[4])))
        x = self.join_two(_upsample_and_join(x, self.at_two(features.skips[2])))
        return HeadOutput(x, self.classifier(x), None)


def _upsample_and_join(x: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    return torch.cat([resize(x, (low.shape[-2], low.shape[-1])), low], dim=1)


DEEPERLAB_LOW = 32  # channels of the low-level features, before a block of pixels is stacked
LOW_STRIDE = 4  # of the low-level features, and of the logits
KERNEL = 7


class DeeperLabHead(Head):
    """Logits at stride 4. At output stride 16 the two large convolutions have 16 `width` channels: 4096, as published.

    The 7x7 convolutions are separable, because a full one of 4096 channels would have 822 M weights.
    """

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.channels = width
        self.size_divisor = trunk.stride
        self.stride = LOW_STRIDE
        self.block = trunk.stride // LOW_STRIDE  # pixels at stride 4 per pixel of the trunk, in each direction
        area = self.block**2
        self.aspp = ASPP(trunk.channels, width, trunk.stride)
        self.low = Conv(trunk.skip_channels[LOW_STRIDE], DEEPERLAB_LOW)
        self.high = ConvNorm(BRANCHES * width, width)
        self.first = SeparableConv(width + DEEPERLAB_LOW * area, width * area, KERNEL)
        self.second = SeparableConv(width * area, width * area, KERNEL)
        self.refine = SeparableConv(width, width, KERNEL)
        self.classifier = ClassifierConv(width, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        low = F.pixel_unshuffle(self.low(features.skips[LOW_STRIDE]), self.block)  # (B, 32 area, h, w)
        high = self.high(self.aspp(features.high))
        wide = self.second(self.first(torch.cat([high, low], dim=1)))  # (B, width area, h, w)
        fine = F.pixel_shuffle(wide, self.block)  # (B, width, block h, block w)
        return HeadOutput(fine, self.classifier(self.refine(fine)), None)
