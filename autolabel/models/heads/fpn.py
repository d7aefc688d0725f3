"""The top-down path of a feature pyramid (Lin et al., arXiv 1612.03144, section 3) as a light decoder.

It is similar to the semantic branch of Panoptic FPN (Kirillov et al., arXiv 1901.02446, section 3).
"""

from __future__ import annotations

from torch import nn

from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import ClassifierConv, ConvNorm
from autolabel.models.resize import resize
from autolabel.models.trunks import Features, Trunk

FINEST = 4  # stride of the last skip connection, and of the logits


class FPNHead(Head):
    """Every level adds a lateral 1x1 of the trunk's features to the resized coarser level, and smooths with a 3x3.

    All levels have `width` channels. Logits and attention read the smoothed features of stride 4.
    """

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 128) -> None:
        super().__init__()
        self.channels = width
        self.size_divisor = trunk.stride  # so that all levels align
        self.stride = FINEST
        self.levels = sorted((s for s in trunk.skip_channels if FINEST <= s < trunk.stride), reverse=True)
        self.top = ConvNorm(trunk.channels, width)
        self.lateral = nn.ModuleList(ConvNorm(trunk.skip_channels[level], width, relu=False) for level in self.levels)
        self.smooth = nn.ModuleList(ConvNorm(width, width, 3) for _ in self.levels)
        self.classifier = ClassifierConv(width, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        x = self.top(features.high)
        for level, lateral, smooth in zip(self.levels, self.lateral, self.smooth, strict=True):
            low = lateral(features.skips[level])
            x = smooth(low + resize(x, (low.shape[-2], low.shape[-1])))
        return HeadOutput(x, self.classifier(x), None)
