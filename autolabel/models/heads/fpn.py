"""A feature pyramid's top-down path (Lin et al., arXiv 1612.03144, section 3) as a light decoder, in the spirit of the
semantic branch of Panoptic FPN (Kirillov et al., arXiv 1901.02446, section 3)."""

from __future__ import annotations

from torch import nn

from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import ClassifierConv, ConvNorm
from autolabel.models.resize import resize
from autolabel.models.trunks import Features, Trunk

FINEST = 4  # stride of the skip connection that is joined last, and of the logits


class FPNHead(Head):
    """Every level: a lateral 1x1 of the trunk's features, plus the coarser level resized, smoothed by a 3x3.

    All of `width` channels. The smoothed features of stride 4 are what logits and attention both read.
    """

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 128) -> None:
        super().__init__()
        self.channels = width
        self.multiple = trunk.stride  # the levels then lie on one grid
        self.stride = FINEST
        self.levels = sorted((s for s in trunk.taps if FINEST <= s < trunk.stride), reverse=True)
        self.top = ConvNorm(trunk.channels, width)
        self.lateral = nn.ModuleList(ConvNorm(trunk.taps[level], width, relu=False) for level in self.levels)
        self.smooth = nn.ModuleList(ConvNorm(width, width, 3) for _ in self.levels)
        self.classifier = ClassifierConv(width, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        x = self.top(features.high)
        for level, lateral, smooth in zip(self.levels, self.lateral, self.smooth, strict=True):
            low = lateral(features.taps[level])
            x = smooth(low + resize(x, (low.shape[-2], low.shape[-1])))
        return HeadOutput(x, self.classifier(x), None)
