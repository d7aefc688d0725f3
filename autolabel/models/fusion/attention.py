"""Scale attention: how much of a pixel's class evidence this scale is trusted with (arXiv 2005.10821, section 3)."""

from __future__ import annotations

import torch
from torch import nn

from autolabel.models.layers import ConvNorm, Readout, at_least_float32


class ScaleAttention(nn.Module):
    """(B, `inputs`, h, w) -> (B, 1, h, w) in (0, 1): two 3x3 convolutions, one 1x1 without bias, sigmoid."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, channels, 3)
        self.second = ConvNorm(channels, channels, 3)
        self.last = Readout(channels, 1, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(at_least_float32(self.last(self.second(self.first(features)))))
