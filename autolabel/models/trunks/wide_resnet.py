"""WiderResNet-38 (Wu et al., arXiv 1611.10080) in the variant A2 of Rota Bulo et al. (arXiv 1712.02616).

It has wide, shallow pre-activation blocks; the last groups keep their resolution and are dilated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from autolabel.models.layers import Conv
from autolabel.models.trunks.trunk import Features, Trunk


@dataclass(frozen=True)
class Group:
    """Blocks with the same channels: (a, b) are two 3x3; (a, b, c) are 1x1, 3x3, 1x1."""

    blocks: int
    channels: tuple[int, ...]
    stride: int = 1  # of the first block
    dilation: int = 1  # of every 3x3
    dropout: float = 0.0  # before the last convolution


@dataclass(frozen=True)
class WideResNetShape:
    """Settings of a network of the family."""

    stem: int
    groups: tuple[Group, ...]  # a max pooling precedes each of the first two


def wide_resnet_shape(width: int, blocks: tuple[int, ...]) -> WideResNetShape:
    """The published network has width 64 and (3, 3, 6, 3, 1, 1) blocks."""
    a, b, c, d, e, f = blocks
    groups = (
        Group(a, (2 * width, 2 * width)),
        Group(b, (4 * width, 4 * width)),
        Group(c, (8 * width, 8 * width), stride=2),
        Group(d, (8 * width, 16 * width), dilation=2),
        Group(e, (8 * width, 16 * width, 32 * width), dilation=4, dropout=0.3),
        Group(f, (16 * width, 32 * width, 64 * width), dilation=4, dropout=0.5),
    )
    return WideResNetShape(width, groups)


class NormConv(nn.Module):
    """Batch norm, ReLU, dropout, convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.dropout = nn.Dropout2d(dropout)
        self.conv = Conv(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.conv(self.dropout(torch.relu_(self.norm(x))))
        return output


class PreActivationBlock(nn.Module):
    """A pre-activation block (He et al., arXiv 1603.05027).

    A projection reads the activated input, an identity shortcut the raw one.
    """

    def __init__(self, inputs: int, group: Group, stride: int) -> None:
        super().__init__()
        first, *rest = group.channels
        kernels = (3, 3) if len(group.channels) == 2 else (1, 3, 1)
        dilations = [group.dilation if kernel == 3 else 1 for kernel in kernels]
        self.norm = nn.BatchNorm2d(inputs)
        self.first = Conv(inputs, first, kernels[0], stride=stride, dilation=dilations[0])
        self.rest = nn.Sequential()
        for i, outputs in enumerate(rest, start=1):
            dropout = group.dropout if i == len(rest) else 0.0
            step = NormConv(group.channels[i - 1], outputs, kernels[i], dilation=dilations[i], dropout=dropout)
            self.rest.append(step)
        changes = inputs != rest[-1] or stride != 1
        self.project = Conv(inputs, rest[-1], stride=stride) if changes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = torch.relu_(self.norm(x))
        shortcut = x if self.project is None else self.project(active)
        output: torch.Tensor = shortcut + self.rest(self.first(active))
        return output


class WideResNet(Trunk):
    """The skip connections are the first two groups (strides 2 and 4). No norm follows the last group."""

    stride = 8
    low_level_stride = 2

    def __init__(self, shape: WideResNetShape) -> None:
        super().__init__()
        self.skip_channels = {2: shape.groups[0].channels[-1], 4: shape.groups[1].channels[-1]}
        self.channels = shape.groups[-1].channels[-1]
        self.stem = Conv(3, shape.stem, 3)
        self.groups = nn.ModuleList()
        inputs = shape.stem
        for group in shape.groups:
            first = PreActivationBlock(inputs, group, group.stride)
            inputs = group.channels[-1]
            rest = (PreActivationBlock(inputs, group, 1) for _ in range(group.blocks - 1))
            self.groups.append(nn.Sequential(first, *rest))

    def forward(self, images: torch.Tensor) -> Features:
        first, second, *rest = self.groups
        x = at_two = first(_pool(self.stem(images)))
        x = at_four = second(_pool(x))
        for group in rest:
            x = group(x)
        return Features(x, {2: at_two, 4: at_four})

    def checkpoint_blocks(self) -> list[nn.Module]:
        return [block for group in self.groups for block in group.children()]


def _pool(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 3, stride=2, padding=1)
