"""Dilated ResNets (He et al., arXiv 1512.03385; dilation: Chen et al., arXiv 1706.05587).

The last stages keep their resolution: their strides become dilations of every 3x3 in the stage. HRNet's first stage
uses the same `Bottleneck`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from autolabel.models.layers import ConvNorm, start_as_identity
from autolabel.models.trunks.trunk import Features, Trunk

EXPANSION = 4  # ratio of outer to inner channels


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; `stride` and `dilation` apply to the 3x3."""

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


STEPS = {8: ((1, 1), (2, 1), (1, 2), (1, 4)), 16: ((1, 1), (2, 1), (2, 1), (1, 2))}  # (stride, dilation) per stage


@dataclass(frozen=True)
class ResNetShape:
    """Settings of a network of the family."""

    blocks: tuple[int, int, int, int]  # per stage
    width: int = 64  # channels of the stem, inner channels of stage 1; doubles with every stage


class ResNet(Trunk):
    """The skip connections are the stem (stride 2) and stage 1 (stride 4)."""

    def __init__(self, shape: ResNetShape, stride: int) -> None:
        super().__init__()
        width = shape.width
        self.stride = stride
        self.channels = 8 * width * EXPANSION
        self.skip_channels = {2: width, 4: width * EXPANSION}
        self.stem = ConvNorm(3, width, 7, stride=2)
        self.stages = nn.ModuleList()
        inputs = width
        for level, (blocks, (step, dilation)) in enumerate(zip(shape.blocks, STEPS[stride], strict=True)):
            inner = width * 2**level
            self.stages.append(_stage(inputs, inner, blocks, step, dilation))
            inputs = inner * EXPANSION

    def forward(self, images: torch.Tensor) -> Features:
        stem = self.stem(images)
        x = low = self.stages[0](F.max_pool2d(stem, 3, stride=2, padding=1))
        for stage in self.stages[1:]:
            x = stage(x)
        return Features(x, {2: stem, 4: low})

    def layers_by_stride(self) -> list[tuple[int, nn.Module]]:
        layers: list[tuple[int, nn.Module]] = [(2, self.stem)]
        at = 4
        for stage, (step, _) in zip(self.stages, STEPS[self.stride], strict=True):
            at *= step
            layers.append((at, stage))
        return layers

    def checkpoint_blocks(self) -> list[nn.Module]:
        return [block for stage in self.stages for block in stage.children()]


def _stage(inputs: int, inner: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
    first = Bottleneck(inputs, inner, stride=stride, dilation=dilation)
    rest = (Bottleneck(inner * EXPANSION, inner, dilation=dilation) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
