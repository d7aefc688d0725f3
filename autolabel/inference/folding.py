"""Batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """norm(conv(x)) as one convolution; computed in float64, so that a weight is rounded once."""
    if conv.weight.is_meta:  # memory is counted: there are no values to compute
        outline = copy.copy(conv)
        bias = nn.Parameter(conv.weight.new_empty(conv.out_channels), requires_grad=False)
        outline._parameters = {**conv._parameters, "bias": bias}
        return outline
    dtype = conv.weight.dtype
    return fuse_conv_bn_eval(copy.deepcopy(conv).double().eval(), copy.deepcopy(norm).double()).to(dtype)
