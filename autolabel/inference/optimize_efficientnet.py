"""The layers of an EfficientNet-Lite for CPUs: the same function in fewer passes over memory.

oneDNN applies the ReLU6 in the convolution before it, and adds the input of a block in its last convolution. Its ReLU6
makes 0 of NaN, also of a NaN that an earlier layer made, and logits of broken weights would look sound. So all layers
keep torch's where one weight of them is not finite or so large that a sum may overflow. Of sound weights no NaN comes,
because the input of every depthwise convolution and projection lies in [0, 6].
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autolabel.inference.folding import folded
from autolabel.inference.fused_convs import conv_relu, has_fused_convs, onto
from autolabel.models.trunks.efficientnet import InvertedResidual, SameConv, SameConvNorm, relu6

_LARGEST = 1e6  # of a weight: a sum over the values of a block and one over its outputs are then far from overflow


def has_clamped_convs(dtype: torch.dtype) -> bool:
    """Whether torch has oneDNN's ReLU6 on this CPU. It is private, so the result of a small one is compared."""
    if not has_fused_convs(dtype):
        return False
    conv = SameConv(8, 8, 3, stride=2, groups=8, bias=True).to(dtype).requires_grad_(False)
    x = torch.arange(-64, 64, dtype=dtype).reshape(1, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    try:
        found = _conv_relu6(conv, x)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found.float(), F.relu6(conv(x)).float(), rtol=0.05, atol=0.05)


def fused_layer(layer: nn.Module) -> nn.Module | None:
    """The fast form of a `SameConvNorm` or `InvertedResidual` of a Lite network; None for any other layer.

    Norms are folded if they are not yet. `layer` stays as it is; the form of a block overwrites its input.
    """
    if isinstance(layer, SameConvNorm) and layer.activation is relu6:
        return FusedSameConv(layer)
    if isinstance(layer, InvertedResidual) and isinstance(layer.excite, nn.Identity):
        return FusedInvertedResidual(layer)
    return None


def fuse_clamps(model: nn.Module) -> None:
    """Replace the layers of an EfficientNet-Lite in `model`, in place; none of them if NaN may come of one."""
    found = [
        (owner, name, made)
        for owner in model.modules()
        for name, layer in owner.named_children()
        if (made := fused_layer(layer)) is not None
    ]
    if all(_is_sound(weights) for _, _, made in found for weights in made.parameters()):
        for owner, name, made in found:
            setattr(owner, name, made)


def _is_sound(weights: Tensor) -> bool:
    return weights.device.type == "meta" or bool((weights.abs() < _LARGEST).all())  # False for NaN


def _without_norm(layer: SameConvNorm) -> SameConv:
    conv = layer.conv if isinstance(layer.norm, nn.Identity) else folded(layer.conv, layer.norm)
    return cast(SameConv, conv)


class FusedSameConv(nn.Module):
    """`SameConvNorm` with ReLU6, without its norm."""

    def __init__(self, plain: SameConvNorm) -> None:
        super().__init__()
        self.conv = _without_norm(plain)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if x.device.type != "cpu" or conv.weight.dtype not in (torch.float32, torch.bfloat16):
            return relu6(conv(x))
        return _conv_relu6(conv, x.to(conv.weight.dtype))


class FusedInvertedResidual(nn.Module):
    """`InvertedResidual` without squeeze-and-excitation. Its input is overwritten where the block adds it."""

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.residual = block.residual
        self.expand = FusedSameConv(block.expand) if isinstance(block.expand, SameConvNorm) else nn.Identity()
        self.depthwise = FusedSameConv(block.depthwise)
        self.project = _without_norm(block.project)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.depthwise(self.expand(x))
        return onto(self.project, inner, x, relu=False) if self.residual else conv_relu(self.project, inner, relu=False)


def _conv_relu6(conv: SameConv, x: Tensor) -> Tensor:
    x, weight, padding = conv.with_padding(x, conv.weight)
    run = torch.ops.mkldnn._convolution_pointwise
    shape = padding, conv.stride, conv.dilation, conv.groups
    return cast(Tensor, run(x, weight, conv.bias, *shape, "hardtanh", [0.0, 6.0], ""))
