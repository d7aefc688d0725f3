"""The base class of heads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class HeadOutput(NamedTuple):
    features: torch.Tensor  # (B, C, h, w), which the attention head reads too
    logits: torch.Tensor  # (B, K, h, w)
    aux: torch.Tensor | None  # (B, K, h, w)


class Head(nn.Module):
    """Maps the `Features` of a trunk to a `HeadOutput` whose features have `channels` channels."""

    channels: int
    size_divisor: int = 1  # height and width of images are padded to a multiple of this
    stride: int  # of the output maps
