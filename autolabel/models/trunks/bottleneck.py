"""The residual block of ResNets, which HRNet's first stage uses too (He et al., arXiv 1512.03385)."""

from __future__ import annotations

import torch
from torch import nn

from autolabel.models.layers import ConvNorm, start_as_identity

EXPANSION = 4  # from the inner to the outer channels


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; stride and dilation are the 3x3's."""

    def __init__(self, inputs: int, inner: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        outputs = inner * EXPANSION
        changes = inputs != outputs or stride != 1
        self.reduce = ConvNorm(inputs, inner)
        self.spatial = ConvNorm(inner, inner, 3, stride=stride, dilation=dilation)
        self.expand = ConvNorm(inner, outputs, relu=False)
        self.shortcut = ConvNorm(inputs, outputs, stride=stride, relu=False) if changes else nn.Identity()
        start_as_identity(self.expand)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.expand(self.spatial(self.reduce(x))) + self.shortcut(x))
