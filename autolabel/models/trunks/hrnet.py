"""HRNet: branches of four resolutions side by side, exchanging features (Wang et al., arXiv 1908.07919).

The stem has two stride-2 convolutions, stage 1 has bottlenecks at stride 4, and stages 2-4 have 2, 3 and 4 branches of
basic blocks. All branches of stage 4 are resized to stride 4 and concatenated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from autolabel.models.layers import ConvNorm, start_as_identity
from autolabel.models.resize import resize
from autolabel.models.trunks.resnet import EXPANSION, Bottleneck
from autolabel.models.trunks.trunk import Features, Trunk


@dataclass(frozen=True)
class HRNetShape:
    """Settings of a network of the family."""

    channels: tuple[int, int, int, int]  # of the branches, from stride 4 to stride 32
    modules: tuple[int, int, int]  # in stages 2, 3 and 4
    blocks: int = 4  # basic blocks per branch, in each module
    stage1: tuple[int, int] = (4, 64)  # number of bottlenecks, their inner channels
    stem: tuple[int, int] = (64, 64)


class BasicBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3)
        self.second = ConvNorm(channels, channels, 3, relu=False)
        start_as_identity(self.second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.second(self.first(x)) + x)


def exchange_path(channels: tuple[int, ...], source: int, target: int) -> nn.Module:
    """The path from branch `source` to branch `target`.

    A 1x1 if the target is finer (the caller resizes), otherwise one strided 3x3 per level; only the last of these
    changes the channels, and it has no ReLU.
    """
    if source == target:
        return nn.Identity()
    if source > target:
        return ConvNorm(channels[source], channels[target], relu=False)
    steps = [ConvNorm(channels[source], channels[source], 3, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, ConvNorm(channels[source], channels[target], 3, stride=2, relu=False))


class ExchangeModule(nn.Module):
    """Basic blocks in every branch, after which every branch receives the sum over all branches."""

    def __init__(self, channels: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c) for _ in range(blocks))) for c in channels)
        levels = range(len(channels))
        self.exchange = nn.ModuleList(
            nn.ModuleList(exchange_path(channels, source, target) for source in levels) for target in levels
        )

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._receive(target, maps) for target in range(len(maps))]

    def _receive(self, target: int, maps: list[torch.Tensor]) -> torch.Tensor:
        size = maps[target].shape[-2], maps[target].shape[-1]
        paths: nn.ModuleList = self.exchange[target]  # type: ignore[assignment]  # ModuleList of ModuleLists
        arriving = (resize(path(x), size) for path, x in zip(paths, maps, strict=True))  # one at a time in memory
        total = next(arriving) + next(arriving)
        for x in arriving:
            total += x
        return torch.relu_(total)


class HRNet(Trunk):
    """Features are the concatenated branches, so `channels` is the sum over the branches."""

    def __init__(self, shape: HRNetShape) -> None:
        super().__init__()
        a, b, c, d = shape.channels
        blocks, inner = shape.stage1
        self.branch_channels = shape.channels
        self.channels = sum(shape.channels)
        self.stem = nn.Sequential(
            ConvNorm(3, shape.stem[0], 3, stride=2), ConvNorm(shape.stem[0], shape.stem[1], 3, stride=2)
        )
        wide = inner * EXPANSION
        self.stem_channels, self.wide = shape.stem[0], wide  # channels at stride 2, and of stage 1
        self.stage1 = nn.Sequential(*(Bottleneck(wide if i else shape.stem[1], inner) for i in range(blocks)))
        self.transition1 = nn.ModuleList([ConvNorm(wide, a, 3), ConvNorm(wide, b, 3, stride=2)])
        self.stage2 = _stage((a, b), shape.modules[0], shape.blocks)
        self.transition2 = _new_branch((a, b, c))
        self.stage3 = _stage((a, b, c), shape.modules[1], shape.blocks)
        self.transition3 = _new_branch((a, b, c, d))
        self.stage4 = _stage((a, b, c, d), shape.modules[2], shape.blocks)

    def forward(self, images: torch.Tensor) -> Features:
        maps = self.branches(images)
        size = maps[0].shape[-2], maps[0].shape[-1]
        return Features(torch.cat([resize(x, size) for x in maps], dim=1), {})

    def branches(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, C_b, h_b, w_b), at strides 4, 8, 16 and 32."""
        return self.later_branches(self.first(images))

    def first(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The first two branches, at strides 4 and 8, before they exchange anything."""
        x = self.stage1(self.stem(images))
        return [enter(x) for enter in self.transition1]

    def later_branches(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """All branches, from the first two."""
        maps = self.stage2(maps)
        maps = self.stage3([*maps, self.transition2[-1](maps[-1])])
        branches: list[torch.Tensor] = self.stage4([*maps, self.transition3[-1](maps[-1])])
        return branches

    def layers_by_stride(self) -> list[tuple[int, nn.Module]]:
        """Branches of all strides exchange features from stage 2 on: no later layer has one stride."""
        return [(2, self.stem[0]), (4, self.stem[1]), (4, self.stage1)]

    def checkpoint_blocks(self) -> list[nn.Module]:
        return [*self.stage1, *self.stage2, *self.stage3, *self.stage4]


def _stage(channels: tuple[int, ...], modules: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ExchangeModule(channels, blocks) for _ in range(modules)))


def _new_branch(channels: tuple[int, ...]) -> nn.ModuleList:
    """The existing branches go on as they are; the last one also starts a branch of half the resolution."""
    kept = [nn.Identity() for _ in channels[:-1]]
    return nn.ModuleList([*kept, ConvNorm(channels[-2], channels[-1], 3, stride=2)])
