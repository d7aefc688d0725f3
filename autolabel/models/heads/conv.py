"""Plain convolutions from trunk features to class logits."""

from __future__ import annotations

import torch
from torch import nn

from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import ClassifierConv, ConvNorm
from autolabel.models.trunks import Features, Trunk


class Classify(nn.Module):
    """(B, `inputs`, h, w) -> (B, K, h, w): 3x3, 3x3, 1x1."""

    def __init__(self, inputs: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, width, 3)
        self.second = ConvNorm(width, width, 3)
        self.last = ClassifierConv(width, num_classes, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.last(self.second(self.first(x)))
        return output


class ConvHead(Head):
    """Classifies the trunk's features directly; attention reads the same features."""

    def __init__(self, trunk: Trunk, num_classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.channels = trunk.channels
        self.stride = trunk.stride
        self.classify = Classify(trunk.channels, width, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        return HeadOutput(features.high, self.classify(features.high), None)
