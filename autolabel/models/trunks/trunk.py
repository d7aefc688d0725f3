"""The base class of trunks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn

from autolabel.models.resize import resize


class Features(NamedTuple):
    high: torch.Tensor  # (B, channels, ceil(H / stride), ceil(W / stride))
    skips: dict[int, torch.Tensor]  # stride -> low-level features of that stride, for skip connections


class Trunk(nn.Module):
    """Maps images (B, 3, H, W) to `Features`. A trunk with empty `skip_channels` offers no skip connections."""

    channels: int
    stride: int = 4
    skip_channels: Mapping[int, int] = MappingProxyType({})  # stride -> channels of that skip connection
    low_level_stride: int = 4  # of the skip connection that the published DeepLabV3+ reads
    size_divisor: int = 1  # height and width of images are padded to a multiple of this

    def view(self, images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The images (B, 3, H, W) at another size, as `forward` takes them."""
        return resize(images, size)

    def layers_by_stride(self) -> list[tuple[int, nn.Module]]:
        """The layers in order, each with the stride of its output, for `freeze.stride`; empty where it is unknown."""
        return []

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Modules that run once per pass, one after the other; activation checkpointing may recompute each of them."""
        return [self]
