"""Optimizes a network for inference: the same function with fewer operations, exact except for rounding.

Norms that follow a convolution are folded into it. For HRNet with OCR:

- The branches are neither resized nor concatenated. Resizing commutes with the channel products of a convolution, so
  the products are formed at a branch's own resolution, where a pixel stands for 4, 16 or 64, and resized after.
- The context of a pixel is a mean of class vectors weighted by a softmax, so the 1x1 convolution after it is applied
  to the few class vectors instead of every pixel (the weights sum to 1, so its bias moves along).
- The 1x1 convolution over context and features together becomes one over each, and their sum.
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
from autolabel.models.layers import (
    ClassifierConv,
    ConvNorm,
    SeparableConv,
    at_least_float32,
    without_autocast,
)
from autolabel.models.model import to_channels_last
from autolabel.models.resample import ResampleWeights, bilinear
from autolabel.models.resize import resize
from autolabel.models.trunks import Trunk
from autolabel.models.trunks.efficientnet import SameConvNorm
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.wide_resnet import PreActivationBlock

_TILE = 16  # rows and columns; intermediate results of a tile fit the cache


def resize_and_concatenate(branches: Sequence[Tensor]) -> Tensor:
    """(B, C_b, h_b, w_b) each -> (B, sum of C_b, h, w) at the size of the first."""
    size = branches[0].shape[-2], branches[0].shape[-1]
    return torch.cat([resize(x, size) for x in branches], dim=1)


class ConcatConv(nn.Module):
    """Resizes, concatenates and convolves the branches: the plain form."""

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        assert conv.in_channels == sum(channels), (conv.in_channels, channels)
        self.conv = conv

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        output: Tensor = self.conv(resize_and_concatenate(branches))
        return output


class PointwiseBranchConv(nn.Module):
    """A 1x1 convolution per branch; the results are resized and summed."""

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
    """A 3x3 convolution of stride 1 with zero padding.

    Its nine products with a coarse branch are formed at the resolution of that branch; resizing and shifting them are
    linear maps along columns and rows, computed tile by tile as small matrix products. For CPUs only: on other devices
    the tiles are too small to pay.
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
    """A convolution with these weights, channels last."""
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(inputs, outputs, (height, width), padding=padding, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight.clone(memory_format=torch.channels_last), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv


def _kernel_rows(weight: Tensor) -> list[Tensor]:
    """(O, C, 3, 3) -> for each kernel row, 1x1 weights (3 O, C, 1, 1) with its columns one after another."""
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


def _shifted_block(weights: ResampleWeights, start: int, stop: int) -> tuple[int, np.ndarray]:
    """Weights of targets start ... stop - 1 and of their previous and next neighbours, zero beyond the ends.

    Returns the first source position in use and the weights (targets, 3, sources) from there on.
    """
    stop = min(stop, len(weights))
    low, block = weights.block(max(0, start - 1), min(len(weights), stop + 1))
    padded = np.pad(block, ((start == 0, stop == len(weights)), (0, 0)))
    return low, np.stack([padded[:-2], padded[1:-1], padded[2:]], axis=1)


def _matrix(block: np.ndarray, like: Tensor) -> Tensor:
    """(targets, a, b) -> (targets, a b)."""
    return torch.from_numpy(block.reshape(len(block), -1)).to(like)


class Branches(Trunk):
    """The branches of an HRNet, neither resized nor concatenated: (B, C_b, h_b, w_b), the finest first."""

    def __init__(self, trunk: HRNet) -> None:
        super().__init__()
        self.trunk, self.channels = trunk, trunk.channels

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.trunk.branches(images)


class OptimizedOCR(Head):
    """OCR on branches of `channels` channels. The norms of `head` must be folded into its convolutions already.

    `split`: form the products of the 3x3 convolution at each branch's own resolution; faster on CPUs.
    """

    def __init__(self, head: OCRHead, channels: Sequence[int], *, split: bool) -> None:
        super().__init__()
        self.channels, self.stride = head.channels, head.stride
        spatial = SpatialBranchConv if split else ConcatConv
        self.pixels = spatial(head.pixels.conv, channels)
        self.aux = PointwiseBranchConv(head.aux.conv, channels)
        self.aux_classifier, self.classifier = head.aux_classifier, head.classifier
        self.context = head.context
        context_weight, feature_weight = head.merge.conv.weight.detach().split(head.channels, dim=1)
        self.merge_context = conv_with(context_weight)
        self.merge_features = conv_with(feature_weight, head.merge.conv.bias)

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
        """Equal to `ObjectContext`: (B, C, h, w)."""
        query = self.context.pixel(features)  # (B, D, h, w)
        key = self.context.object(classes).flatten(2)  # (B, D, K)
        vectors = self.context.up.conv(self.context.value(classes)).flatten(2)  # (B, C, K)
        similarity = query.flatten(2).transpose(1, 2) @ key * self.context.scale  # (B, h w, K)
        context = torch.relu_(similarity.softmax(dim=-1) @ vectors.transpose(1, 2))  # (B, h w, C)
        output: Tensor = context.transpose(1, 2).unflatten(2, query.shape[-2:])
        return output


class Decision(nn.Module):
    """A layer that gives logits or attention: it runs in float32 (or float64), whatever autocast says around it.

    Where two classes are nearly equal, a logit rounded to bfloat16 decides by chance.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x.device):
            output: Tensor = self.layer(at_least_float32(x))
        return output


def prepare(
    model: SegmentationModel, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> SegmentationModel:
    """A copy in eval mode on `device`, its convolutions in `dtype`; `model` stays as it is.

    Folds norms into the convolutions before them, replaces OCR over HRNet by `OptimizedOCR`, and on CPUs runs 1x1
    convolutions by oneDNN. Run a copy in less than float32 under autocast; layers that give logits or attention stay in
    float32.
    """
    device = torch.device(device)
    prepared = copy.deepcopy(model).eval().requires_grad_(False)
    with torch.no_grad():
        _fold_norms(prepared)
        _optimize_head(prepared, split=device.type == "cpu" and dtype.itemsize >= 4)
        for module in prepared.modules():
            if isinstance(module, nn.Conv2d) and not isinstance(module, ClassifierConv):
                module.to(dtype)
        _decide_exactly(prepared)
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        _prefer_onednn(prepared)
    return to_channels_last(prepared).to(device)


def _decide_exactly(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, ClassifierConv):
                setattr(module, name, Decision(layer))


def _fold_norms(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, ConvNorm | SameConvNorm):
            _fold(module, "conv", module)
        elif isinstance(module, SeparableConv):
            _fold(module, "depthwise", module)
        elif isinstance(module, PreActivationBlock):  # the first norm of the block follows a sum and stays
            for before, step in zip([module, *module.rest], module.rest, strict=False):
                _fold(before, "first" if before is module else "conv", step)


def _fold(owner: nn.Module, name: str, follower: nn.Module) -> None:
    """Fold the norm of `follower`, which reads the output of convolution `name` of `owner`, into that convolution."""
    conv, norm = getattr(owner, name), follower.norm
    assert isinstance(norm, nn.BatchNorm2d), norm
    dtype = conv.weight.dtype
    folded = fuse_conv_bn_eval(conv.double(), norm.double()).to(dtype)  # in float64: a weight is rounded once
    setattr(owner, name, folded)
    follower.norm = nn.Identity()


def _optimize_head(model: SegmentationModel, *, split: bool) -> None:
    trunk, head = model.trunk, model.head
    if isinstance(trunk, HRNet) and isinstance(head, OCRHead):
        model.head = OptimizedOCR(head, trunk.branch_channels, split=split)
        model.trunk = Branches(trunk)


def _prefer_onednn(model: nn.Module) -> None:
    """In one thread torch runs 1x1 convolutions by oneDNN only if they are dilated, which does not change a 1x1 kernel.

    oneDNN uses all vector instructions of a CPU, where torch's BLAS may not: 2.3 times as fast on an AMD Zen 5.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (2, 2)
