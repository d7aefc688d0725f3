"""The top-down path of a feature pyramid (Lin et al., arXiv 1612.03144, section 3) as a light decoder.

It is similar to the semantic branch of Panoptic FPN (Kirillov et al., arXiv 1901.02446, section 3).
"""

from __future__ import annotations

import torch
from torch import nn

from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import ClassifierConv, ConvNorm
from autolabel.models.resize import resize
from autolabel.models.trunks import Features, Trunk

FINEST = 4  # stride of the last skip connection, and of the logits


class FPNHead(Head):
    """Every level adds a lateral 1x1 of the trunk's features to the resized coarser level, followed by a ReLU.

    All levels have `width` channels. A 3x3 to half as many smooths the sum at stride 4; logits and attention read that.
    The 3x3 of the other levels in the published pyramid is left out: it is most of a step on a CPU.
    """

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 128) -> None:
        super().__init__()
        self.channels = width // 2
        self.size_divisor = trunk.stride  # so that all levels align
        self.stride = FINEST
        self.levels = sorted((s for s in trunk.skip_channels if FINEST <= s < trunk.stride), reverse=True)
        self.top = ConvNorm(trunk.channels, width, relu=False)
        self.lateral = nn.ModuleList(ConvNorm(trunk.skip_channels[level], width, relu=False) for level in self.levels)
        self.smooth = ConvNorm(width, self.channels, 3)
        self.classifier = ClassifierConv(self.channels, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        x = self.top(features.high)
        for level, lateral in zip(self.levels, self.lateral, strict=True):
            low = lateral(features.skips[level])
            x = torch.relu_(low + resize(x, (low.shape[-2], low.shape[-1])))
        x = self.smooth(x)
        return HeadOutput(x, self.classifier(x), None)
