"""A network for inference: the same function with fewer operations. Exact but for rounding."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from autolabel.inference.lean_ocr import Branches, LeanOCR
from autolabel.models import SegmentationModel
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.layers import ConvNorm, SeparableConv
from autolabel.models.model import to_channels_last
from autolabel.models.trunks.efficientnet import SameConvNorm
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.wide_resnet import PreActivationBlock


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
