"""Atrous spatial pyramid pooling (Chen et al., arXiv 1706.05587, section 3.3): context of several ranges at once."""

from __future__ import annotations

import torch
from torch import nn

from autolabel.errors import ConfigError
from autolabel.models.layers import ConvNorm

RATES = (6, 12, 18)  # at output stride 16; doubled at 8
BRANCHES = 2 + len(RATES)


class ASPP(nn.Module):
    """(B, `inputs`, h, w) -> (B, 5 `width`, h, w): the whole image's mean, 1x1, and three dilated 3x3."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.point = ConvNorm(inputs, width)
        self.dilated = nn.ModuleList(ConvNorm(inputs, width, 3, dilation=rate * 16 // stride) for rate in RATES)
        self.pooled = ConvNorm(inputs, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and x.shape[0] == 1:
            # One image gives its norm one value a channel: no spread to normalise by.
            raise ConfigError("batch", "ASPP's image pooling cannot train on one image", "at least 2 a step and device")
        pooled = self.pooled(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, x.shape[2], x.shape[3])
        return torch.cat([pooled, self.point(x), *(branch(x) for branch in self.dilated)], dim=1)
