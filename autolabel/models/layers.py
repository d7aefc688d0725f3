"""Layers that trunks and heads share, with their initialisation, and the normalisation of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


class Conv(nn.Conv2d):
    """Convolution, by default without bias. Padding keeps the size at stride 1.

    Initialised as in He et al. 2015 (arXiv 1502.01852), normal, fan out.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, dilation: int = 1, bias: bool = False
    ) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=bias)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def conv_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """norm(conv(x)). In training, a frozen norm is folded into the weights: the same function in one pass less."""
    if not torch.is_grad_enabled() or norm.training or norm.weight.requires_grad:
        output: torch.Tensor = norm(conv(x))
        return output
    assert norm.running_mean is not None, norm
    assert norm.running_var is not None, norm
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    bias = shift if conv.bias is None else shift + conv.bias * scale
    folded: torch.Tensor = conv._conv_forward(x, conv.weight * scale[:, None, None, None], bias)
    return folded


class ConvNorm(nn.Module):
    """Convolution, batch norm (eps 1e-5, momentum 0.1) and, by default, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, kernel, stride=stride, dilation=dilation, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = conv_norm(self.conv, self.norm, x)
        return torch.relu_(x) if self.relu else x


class SeparableConv(nn.Module):
    """Depthwise convolution, batch norm, then 1x1, batch norm and, by default, ReLU (Chollet, arXiv 1610.02357).

    The initial depthwise weights keep the variance of the input, because no ReLU follows.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            inputs, inputs, kernel, stride, dilation * (kernel // 2), dilation, groups=inputs, bias=False
        )
        self.norm = nn.BatchNorm2d(inputs)
        self.pointwise = ConvNorm(inputs, outputs, relu=relu)
        nn.init.normal_(self.depthwise.weight, std=1 / kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.pointwise(self.norm(self.depthwise(x)))
        return output


def start_as_identity(last: ConvNorm) -> None:
    """Zero the last norm of a residual block, so that depth does not inflate the features at the start of training
    (Goyal et al., arXiv 1706.02677, section 5.1)."""
    nn.init.zeros_(last.norm.weight)


class ClassifierConv(nn.Conv2d):
    """1x1 convolution to logits (mostly with bias) or to attention before its sigmoid (without).

    The initial weights are small: attention starts near 0.5, and every class near probability 1 / K. This is the best
    constant for the sigmoid losses, so the first steps need not learn that most classes are absent from a pixel.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)
        nn.init.normal_(self.weight, std=0.01)
        if self.bias is not None:
            nn.init.constant_(self.bias, -math.log(max(1, outputs - 1)))


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Half precision becomes float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Operations inside keep the types of their tensors."""
    known = torch.amp.is_autocast_available(device.type)  # the meta device, on which memory is counted, has none
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


# Statistics of ImageNet in RGB on [0, 1]. They belong to the weights: every weights file records its own.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: torch.Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> torch.Tensor:
    """RGB uint8, (B, H, W, 3) or (B, 3, H, W), -> float32 (B, 3, H, W): (x / 255 - mean) / std.

    A batch that fits both layouts (H = 3 and W = 3) is read as (B, H, W, 3), the layout of decoded images.
    """
    assert images.ndim == 4, images.shape
    assert images.dtype == torch.uint8, images.dtype
    if images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    assert images.shape[1] == 3, images.shape
    normal = images.to(torch.float32)
    for channel, m, s in zip(
        normal.unbind(1), mean, std, strict=True
    ):  # scalars: a tensor of them would wait for the GPU
        channel.sub_(m * 255).mul_(1 / (s * 255))
    return normal
