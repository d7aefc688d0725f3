"""Convolutions for CPUs that add their result to another map as they write it: fewer passes over memory.

A block adds its result to its input in place, so a trunk holds one map less. oneDNN adds in the convolution; torch
offers this as an operation that its compiler uses. Where it cannot, as in float64, separate operations follow. The
ReLU stays torch's: oneDNN's makes 0 of NaN, and logits of broken weights would look sound.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from autolabel.inference.winograd import WinogradConv
from autolabel.models.layers import ConvNorm
from autolabel.models.resize import resize
from autolabel.models.trunks.hrnet import BasicBlock, ExchangeModule
from autolabel.models.trunks.resnet import Bottleneck


def fuse_sums(model: nn.Module) -> None:
    """Replace the blocks of `model`, in place. Their norms must be folded into the convolutions already."""
    for owner in list(model.modules()):
        for name, module in list(owner.named_children()):
            fused = _FORMS.get(type(module))
            if fused is not None:
                setattr(owner, name, fused(module))


def has_fused_convs(dtype: torch.dtype) -> bool:
    """Whether torch offers them on this CPU. They are private, so the result of a small one is compared."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    conv = nn.Conv2d(8, 8, 3, padding=1, dtype=dtype).requires_grad_(False)
    conv.weight.data = conv.weight.contiguous(memory_format=torch.channels_last)
    values = torch.arange(-16, 16, dtype=dtype).div(16).reshape(1, 8, 2, 2)
    x = values.contiguous(memory_format=torch.channels_last)
    try:
        inner = torch.relu(conv(x))
        expected = torch.relu(x + conv(inner))
        found = onto(conv, conv_relu(conv, x), x, relu=True)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found.float(), expected.float(), rtol=0.05, atol=0.05)


def conv_relu(conv: nn.Conv2d, x: Tensor, *, relu: bool = True) -> Tensor:
    """conv(x), then a ReLU if asked for."""
    out: Tensor = conv(x.to(torch.bfloat16) if conv.weight.dtype == torch.bfloat16 else x)
    return torch.relu_(out) if relu else out


def onto(conv: nn.Conv2d, x: Tensor, total: Tensor, *, relu: bool) -> Tensor:
    """total + conv(x), then a ReLU if asked for, in the place of `total`."""
    if isinstance(conv, WinogradConv) and conv.pays(x):
        total = conv.add_to(total, x)
        return torch.relu_(total) if relu else total
    in_place = total.dtype == conv.weight.dtype and total.is_contiguous(memory_format=torch.channels_last)
    if in_place and _is_fusable(conv, x) and x.is_contiguous(memory_format=torch.channels_last):
        run = torch.ops.mkldnn._convolution_pointwise_.binary
        values = total, x.to(conv.weight.dtype), conv.weight, conv.bias
        total = cast(Tensor, run(*values, *_shape(conv), "add", 1.0, None, [], None))
    else:
        total += conv(x)
    return torch.relu_(total) if relu else total


def _is_fusable(conv: nn.Conv2d, x: Tensor) -> bool:
    return x.device.type == "cpu" and conv.weight.dtype in (torch.float32, torch.bfloat16)


def _shape(conv: nn.Conv2d) -> tuple[object, ...]:
    return conv.padding, conv.stride, conv.dilation, conv.groups


class FusedConv(nn.Module):
    """`ConvNorm` without its norm."""

    def __init__(self, plain: ConvNorm) -> None:
        super().__init__()
        self.conv, self.relu = plain.conv, plain.relu

    def forward(self, x: Tensor) -> Tensor:
        return conv_relu(self.conv, x, relu=self.relu)


class FusedBasicBlock(nn.Module):
    """Its input is overwritten."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.first, self.second = block.first.conv, block.second.conv

    def forward(self, x: Tensor) -> Tensor:
        return onto(self.second, conv_relu(self.first, x), x, relu=True)


class FusedBottleneck(nn.Module):
    """Its input is overwritten where the block keeps its channels and size."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.reduce, self.spatial, self.expand = block.reduce.conv, block.spatial.conv, block.expand.conv
        self.shortcut = block.shortcut.conv if isinstance(block.shortcut, ConvNorm) else None

    def forward(self, x: Tensor) -> Tensor:
        inner = conv_relu(self.spatial, conv_relu(self.reduce, x))
        total = x if self.shortcut is None else conv_relu(self.shortcut, x, relu=False)
        return onto(self.expand, inner, total, relu=True)


class FusedExchange(nn.Module):
    """`ExchangeModule`; strided convolutions add themselves to the sum over the branches."""

    def __init__(self, module: ExchangeModule) -> None:
        super().__init__()
        self.branches, self.exchange = module.branches, module.exchange

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._receive(target, maps) for target in range(len(maps))]

    def _receive(self, target: int, maps: list[Tensor]) -> Tensor:
        size = maps[target].shape[-2], maps[target].shape[-1]
        paths = cast(nn.ModuleList, self.exchange[target])
        coarser = list(zip(paths, maps, strict=True))[target + 1 :]
        total: Tensor | None = None
        for path, x in coarser:
            arriving = resize(cast(Tensor, path(x)), size)
            total = arriving if total is None else total.add_(arriving)
            del arriving
        total = maps[target].clone() if total is None else total.add_(maps[target])
        for source in range(target):
            steps = _steps(paths[source])
            x = maps[source]
            for step in steps[:-1]:
                x = step(x)
            total = onto(steps[-1].conv, x, total, relu=source == target - 1)
        return torch.relu_(total) if target == 0 else total


def _steps(path: nn.Module) -> list[FusedConv]:
    return cast(list[FusedConv], list(path.children()) if isinstance(path, nn.Sequential) else [path])


_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    ConvNorm: FusedConv,
    BasicBlock: FusedBasicBlock,
    Bottleneck: FusedBottleneck,
    ExchangeModule: FusedExchange,
}
