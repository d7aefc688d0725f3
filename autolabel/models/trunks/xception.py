"""Xception-71 as in NVIDIA/semantic-segmentation (Chollet, arXiv 1610.02357; Chen et al., arXiv 1802.02611).

It has separable convolutions and three entry blocks; later blocks are dilated instead of strided.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from autolabel.models.layers import ConvNorm, SeparableConv, start_as_identity
from autolabel.models.trunks.trunk import Features, Trunk


@dataclass(frozen=True)
class Block:
    channels: tuple[int, ...]  # of the separable convolutions
    stride: int = 1  # of the last one
    dilations: tuple[int, ...] = (1, 1, 1)
    active: bool = True  # starts with a ReLU, whose output the shortcut reads too


@dataclass(frozen=True)
class XceptionShape:
    """Settings of a network of the family."""

    stem: tuple[int, int]
    entry: tuple[Block, Block, Block]
    middle: tuple[Block, ...]
    exit: Block
    last: tuple[int, ...]  # channels of the separable convolutions after the blocks


def xception_shape(width: int, core: int, middle: int) -> XceptionShape:
    """The published network has width 32, core 728 and 16 middle blocks."""
    entry = (
        Block((4 * width,) * 3, stride=2, active=False),
        Block((8 * width,) * 2, active=False),
        Block((core,) * 3, stride=2),
    )
    body = Block((core,) * 3, dilations=(2, 2, 2))
    out = Block((core, 32 * width, 32 * width), dilations=(2, 2, 1))
    return XceptionShape((width, 2 * width), entry, (body,) * middle, out, (48 * width, 48 * width, 64 * width))


class XceptionBlock(nn.Module):
    """Separable convolutions plus a shortcut: a strided 1x1 if the shape changes, else the identity."""

    def __init__(self, inputs: int, block: Block) -> None:
        super().__init__()
        outputs, last = block.channels[-1], len(block.channels) - 1
        self.active = block.active
        changes = inputs != outputs or block.stride != 1
        self.shortcut = ConvNorm(inputs, outputs, stride=block.stride, relu=False) if changes else nn.Identity()
        self.steps = nn.Sequential()
        for i, (channels, dilation) in enumerate(zip(block.channels, block.dilations, strict=False)):
            stride = block.stride if i == last else 1
            step = SeparableConv(inputs, channels, 3, stride=stride, dilation=dilation, relu=i != last)
            self.steps.append(step)
            inputs = channels
        start_as_identity(step.pointwise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x) if self.active else x
        output: torch.Tensor = self.steps(x) + self.shortcut(x)
        return output


class Xception(Trunk):
    """The skip connections are the stem (stride 2) and the first block (stride 4)."""

    stride = 8
    low_level_stride = 2

    def __init__(self, shape: XceptionShape) -> None:
        super().__init__()
        narrow, wide = shape.stem
        self.skip_channels = {2: wide, 4: shape.entry[0].channels[-1]}
        self.channels = shape.last[-1]
        self.stem = nn.Sequential(ConvNorm(3, narrow, 3, stride=2), ConvNorm(narrow, wide, 3))
        self.blocks = nn.ModuleList()
        inputs = wide
        for block in (*shape.entry, *shape.middle, shape.exit):
            self.blocks.append(XceptionBlock(inputs, block))
            inputs = block.channels[-1]
        self.last = nn.Sequential()
        for channels in shape.last:
            self.last.append(SeparableConv(inputs, channels, 3, dilation=4))
            inputs = channels

    def forward(self, images: torch.Tensor) -> Features:
        at_two = self.stem(images)
        x = at_four = torch.relu_(self.blocks[0](at_two))
        for block in self.blocks[1:]:
            x = block(x)
        return Features(self.last(torch.relu_(x)), {2: at_two, 4: at_four})

    def checkpoint_blocks(self) -> list[nn.Module]:
        return [*self.blocks]
