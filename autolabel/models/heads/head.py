"""What every head is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class HeadOutput(NamedTuple):
    features: torch.Tensor  # (B, C, h, w), what the attention head reads too
    logits: torch.Tensor  # (B, K, h, w)
    aux: torch.Tensor | None  # (B, K, h, w)


class Head(nn.Module):
    """`Features` of a trunk -> `HeadOutput` with features of `channels` channels."""

    channels: int
    multiple: int = 1  # images are padded to a multiple of this, in height and width
    stride: int  # of its maps
