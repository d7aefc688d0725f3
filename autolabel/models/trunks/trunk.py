"""What every trunk is."""

from __future__ import annotations

from torch import nn


class Trunk(nn.Module):
    """Images (B, 3, H, W) -> features (B, `channels`, ceil(H / 4), ceil(W / 4))."""

    channels: int
