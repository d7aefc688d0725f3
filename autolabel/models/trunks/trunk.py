"""What every trunk is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn


class Features(NamedTuple):
    high: torch.Tensor  # (B, channels, ceil(H / stride), ceil(W / stride))
    taps: dict[int, torch.Tensor]  # stride -> low-level features of that stride


class Trunk(nn.Module):
    """Images (B, 3, H, W) -> `Features`. A trunk without taps has no low-level features to offer a decoder."""

    channels: int
    stride: int = 4
    taps: Mapping[int, int] = MappingProxyType({})  # stride -> channels
    fine: int = 4  # the tap that the published DeepLabV3+ reads
    multiple: int = 1  # images are padded to a multiple of this, in height and width

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Parts that run once a pass, one after the other: what activation checkpointing may run again one by one."""
        return [self]
