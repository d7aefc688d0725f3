"""The building blocks that every trunk and head shares, each with its own initial weights."""

from __future__ import annotations

import math

import torch
from torch import nn


class ConvNorm(nn.Module):
    """Convolution (padding keeps the size at stride 1), batch norm (eps 1e-5, momentum 0.1) and, by default, ReLU.

    Initial weights: He et al. 2015, normal, fan out.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, bias: bool = False, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = relu
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return torch.relu_(x) if self.relu else x


class Readout(nn.Conv2d):
    """1x1 convolution that ends in logits (with bias) or in attention before its sigmoid (without).

    It starts small: attention near 0.5, and every class near probability 1 / K, the best constant for the sigmoid
    losses, so that the first steps need not learn that most classes are absent from a pixel.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)
        nn.init.normal_(self.weight, std=0.01)
        if self.bias is not None:
            nn.init.constant_(self.bias, -math.log(max(1, outputs - 1)))


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """float64 stays; half precision becomes float32."""
    return x if x.dtype == torch.float64 else x.float()
