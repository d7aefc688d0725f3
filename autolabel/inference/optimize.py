"""A convolution over branches of several resolutions, as if they were resized to the finest and concatenated.

Resizing commutes with what a convolution does across channels: a branch's own products are formed at its own
resolution, where a pixel counts for 4, 16 or 64, and resized after. Exact but for rounding; zero padding included.

HRNet with OCR for inference: the same function with fewer operations.

- The branches of HRNet are neither resized nor concatenated (`branch_conv`).
- The context of a pixel is a mean of class vectors weighted by a softmax: the 1x1 convolution after it is applied to
  the few class vectors instead of to every pixel (the weights sum to 1, so its bias may go along).
- The 1x1 convolution over context and features together is one over each, added up.

A network for inference: the same function with fewer operations. Exact but for rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from autolabel.models import SegmentationModel
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.layers import ConvNorm, SeparableConv
from autolabel.models.model import to_channels_last
from autolabel.models.resample import ResampleWeights, bilinear
from autolabel.models.resize import resize
from autolabel.models.trunks import Trunk
from autolabel.models.trunks.efficientnet import SameConvNorm
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.wide_resnet import PreActivationBlock

_TILE = 16  # rows and columns: what lies between the products stays in the cache


def resized_and_joined(branches: Sequence[Tensor]) -> Tensor:
    """(B, C_b, h_b, w_b) each -> (B, sum of C_b, h, w) at the size of the first."""
    size = branches[0].shape[-2], branches[0].shape[-1]
    return torch.cat([resize(x, size) for x in branches], dim=1)


class JoinedConv(nn.Module):
    """The plain form: branches are resized, concatenated and convolved."""

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert conv.in_channels == sum(channels), (conv.in_channels, channels)
        self.conv = conv

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        output: Tensor = self.conv(resized_and_joined(branches))
        return output


class PointwiseBranchConv(nn.Module):
    """A 1x1 convolution: a branch's own, then resized and added up."""

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert conv.kernel_size == (1, 1), conv.kernel_size
        parts = conv.weight.detach().split(list(channels), dim=1)
        self.convs = nn.ModuleList(
            conv_with(part, conv.bias if i == 0 else None) for i, part in enumerate(parts)
        )  # the bias once

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        total: Tensor
        total, *rest = (conv(x) for conv, x in zip(self.convs, branches, strict=True))
        for x in rest:
            total += resize(x, (total.shape[-2], total.shape[-1]))
        return total


class SpatialBranchConv(nn.Module):
    """A 3x3 convolution of stride 1, padded with zeros.

    Its nine products with a coarse branch are formed at that branch's resolution; resizing and shifting them are then
    linear maps along columns and along rows, done as small matrix products tile by tile. For CPUs: elsewhere the tiles
    are too small.
    """

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1)), conv
        finest, *coarse = conv.weight.detach().split(list(channels), dim=1)
        self.finest = conv_with(finest, conv.bias, padding=1)
        self.coarse = nn.ModuleList(nn.ModuleList(conv_with(row) for row in _kernel_rows(part)) for part in coarse)

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        finest, *coarse = branches
        out: Tensor = self.finest(finest).contiguous(memory_format=torch.channels_last)
        for kernel_rows, x in zip(self.coarse, coarse, strict=True):
            for image, target in zip(x.split(1), out, strict=True):
                _add_branch(kernel_rows.children(), image, target.permute(1, 2, 0))
        return out


def conv_with(weight: Tensor, bias: Tensor | None = None, *, padding: int = 0) -> nn.Conv2d:
    """The convolution of these weights, channels last."""
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(inputs, outputs, (height, width), padding=padding, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight.clone(memory_format=torch.channels_last), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv


def _kernel_rows(weight: Tensor) -> list[Tensor]:
    """(O, C, 3, 3) -> for each row of the kernel, 1x1 weights (3 O, C, 1, 1), its columns one after the other."""
    return [weight[:, :, row].permute(2, 0, 1).flatten(0, 1)[:, :, None, None] for row in range(3)]


def _add_branch(kernel_rows: Iterable[nn.Module], x: Tensor, out: Tensor) -> None:
    """Add to `out` (H, W, O) the products with one image's branch `x` (1, C, h, w)."""
    height, width, outputs = out.shape
    convs = list(kernel_rows)
    down, across = bilinear(x.shape[2], height), bilinear(x.shape[3], width)
    tiles = [(start, *_shifted_block(across, start, start + _TILE)) for start in range(0, width, _TILE)]
    columns = [(start, low, _matrix(block.swapaxes(1, 2), x)) for start, low, block in tiles]
    for top in range(0, height, _TILE):
        low, block = _shifted_block(down, top, top + _TILE)
        rows = _matrix(block, x)  # (tile rows, 3 r)
        source = x[:, :, low : low + block.shape[2]]
        products = [conv(source)[0].permute(1, 2, 0).reshape(block.shape[2], -1, outputs) for conv in convs]
        for left, first, matrix in columns:
            used = slice(3 * first, 3 * first + matrix.shape[1])
            between = torch.stack([torch.matmul(matrix, product[:, used]) for product in products])
            tile = out[top : top + len(rows), left : left + len(matrix)]
            tile.view(len(rows), -1).addmm_(rows, between.view(rows.shape[1], -1))


def _shifted_block(axis: ResampleWeights, start: int, stop: int) -> tuple[int, np.ndarray]:
    """For targets start ... stop - 1, those before and those after them, zero beyond the ends: the first source
    position they need, and (targets, 3, sources) from there on."""
    stop = min(stop, len(axis))
    low, block = axis.block(max(0, start - 1), min(len(axis), stop + 1))
    padded = np.pad(block, ((start == 0, stop == len(axis)), (0, 0)))
    return low, np.stack([padded[:-2], padded[1:-1], padded[2:]], axis=1)


def _matrix(block: np.ndarray, like: Tensor) -> Tensor:
    """(targets, a, b) -> (targets, a b)."""
    return torch.from_numpy(block.reshape(len(block), -1)).to(like)


class Branches(Trunk):
    """An HRNet's branches as they are: (B, C_b, h_b, w_b), the finest first."""

    def __init__(self, trunk: HRNet) -> None:
        super().__init__()
        self.trunk, self.channels = trunk, trunk.channels

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.trunk.branches(images)


class LeanOCR(Head):
    """What `head`, whose norms are folded into its convolutions, gives on the branches of `channels` channels.

    `split`: form the products of the 3x3 convolution at each branch's own resolution; pays on CPUs.
    """

    def __init__(self, head: OCRHead, channels: Sequence[int], *, split: bool) -> None:
        super().__init__()
        self.channels, self.stride = head.channels, head.stride
        spatial = SpatialBranchConv if split else JoinedConv
        self.pixels = spatial(head.pixels.conv, channels)
        self.aux = PointwiseBranchConv(head.aux.conv, channels)
        self.aux_classifier, self.classifier = head.aux_classifier, head.classifier
        self.context = head.context
        of_context, of_features = head.merge.conv.weight.detach().split(head.channels, dim=1)
        self.merge_context = conv_with(of_context)
        self.merge_features = conv_with(of_features, head.merge.conv.bias)

    def forward(self, branches: Sequence[Tensor]) -> HeadOutput:
        features = torch.relu_(self.pixels(branches))
        aux = self.aux_classifier(torch.relu_(self.aux(branches)))  # (B, K, h, w)
        regions = aux.flatten(2).softmax(dim=-1)  # (B, K, h w): where each class lies
        classes = (regions @ features.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(-1)  # (B, C, K, 1)
        merged = self.merge_features(features)
        merged += self.merge_context(self._context(features, classes))
        merged = torch.relu_(merged)
        return HeadOutput(merged, self.classifier(merged), aux)

    def _context(self, features: Tensor, classes: Tensor) -> Tensor:
        """As `ObjectContext`: (B, C, h, w)."""
        query = self.context.pixel(features)  # (B, D, h, w)
        key = self.context.object(classes).flatten(2)  # (B, D, K)
        vectors = self.context.up.conv(self.context.value(classes)).flatten(2)  # (B, C, K)
        similarity = query.flatten(2).transpose(1, 2) @ key * self.context.scale  # (B, h w, K)
        context = torch.relu_(similarity.softmax(dim=-1) @ vectors.transpose(1, 2))  # (B, h w, C)
        output: Tensor = context.transpose(1, 2).unflatten(2, query.shape[-2:])
        return output


def prepare(
    model: SegmentationModel, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> SegmentationModel:
    """A copy in eval mode on `device`, its convolutions in `dtype`; `model` stays as it is.

    Norms that follow a convolution are folded into it, OCR over HRNet becomes `LeanOCR`, and on CPUs 1x1 convolutions
    go to oneDNN. A copy in less than float32 is to be run under autocast.
    """
    device = torch.device(device)
    prepared = copy.deepcopy(model).eval().requires_grad_(False)
    with torch.no_grad():
        _fold_norms(prepared)
        _lean_head(prepared, split=device.type == "cpu" and dtype.itemsize >= 4)
        for module in prepared.modules():
            if isinstance(module, nn.Conv2d):
                module.to(dtype)
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        _prefer_onednn(prepared)
    return to_channels_last(prepared).to(device)


def _fold_norms(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, ConvNorm | SameConvNorm):
            _fold(module, "conv", module)
        elif isinstance(module, SeparableConv):
            _fold(module, "depthwise", module)
        elif isinstance(module, PreActivationBlock):  # the norm of the block itself follows a sum
            for before, step in zip([module, *module.rest], module.rest, strict=False):
                _fold(before, "first" if before is module else "conv", step)


def _fold(owner: nn.Module, name: str, follower: nn.Module) -> None:
    """The convolution `name` of one module takes over the norm of another, which reads what it gives."""
    conv, norm = getattr(owner, name), follower.norm
    assert isinstance(norm, nn.BatchNorm2d), norm
    dtype = conv.weight.dtype
    folded = fuse_conv_bn_eval(conv.double(), norm.double()).to(dtype)  # in float64: a weight is rounded once
    setattr(owner, name, folded)
    follower.norm = nn.Identity()


def _lean_head(model: SegmentationModel, *, split: bool) -> None:
    trunk, head = model.trunk, model.head
    if isinstance(trunk, HRNet) and isinstance(head, OCRHead):
        model.head = LeanOCR(head, trunk.branch_channels, split=split)
        model.trunk = Branches(trunk)


def _prefer_onednn(model: nn.Module) -> None:
    """A single thread's 1x1 convolutions go to oneDNN only if they are dilated, which means nothing for one pixel.

    It uses all of a CPU's vector instructions where the BLAS that torch would call may not: 2.3 times as fast on an
    AMD Zen 5.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (2, 2)
