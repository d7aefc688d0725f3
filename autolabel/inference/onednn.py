"""Products of a network in one thread of a CPU by oneDNN, which uses all vector instructions.

torch's BLAS may not. Torch runs 1x1 convolutions of one thread by oneDNN only if they are dilated; that leaves a 1x1
kernel as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FEW = 64  # tokens: for fewer, oneDNN's reordering of the weights takes longer than it saves


class TokenLinear(nn.Linear):
    """A linear layer that runs as a dilated 1x1 convolution: (..., C) -> (..., O)."""

    def forward(self, input: Tensor) -> Tensor:
        tokens = input.numel() // self.in_features
        if tokens < _FEW:
            return super().forward(input)
        pixels = input.reshape(1, tokens, 1, self.in_features).permute(0, 3, 1, 2)  # channels last
        found = F.conv2d(pixels, self.weight[:, :, None, None], self.bias, dilation=2)
        return found.permute(0, 2, 3, 1).reshape(*input.shape[:-1], self.out_features)


def prefer_onednn(model: nn.Module) -> None:
    """Change 1x1 convolutions and linear layers in place; the keys of the state dict stay."""
    if not torch.backends.mkldnn.is_available():
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (2, 2)
        elif type(module) is nn.Linear:  # a subclass may have a forward of its own
            module.__class__ = TokenLinear
