"""Optimizes a network for inference: the same function with fewer operations, exact except for rounding.

Norms that follow a convolution are folded into it, and HRNet with OCR takes the form of `inference.optimize_hrnet`.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from autolabel.inference.folding import folded
from autolabel.inference.fused_convs import fuse_sums, has_fused_convs
from autolabel.inference.onednn import prefer_onednn
from autolabel.inference.optimize_efficientnet import fuse_clamps, has_clamped_convs
from autolabel.inference.optimize_hrnet import AttentionByRows, Branches, Decision, OptimizedOCR
from autolabel.inference.winograd import use_winograd
from autolabel.models import SegmentationModel
from autolabel.models.fusion.explicit import ExplicitAttention
from autolabel.models.fusion.hierarchical import ScaleAttention
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.layers import ClassifierConv, ConvNorm, SeparableConv
from autolabel.models.model import to_channels_last
from autolabel.models.trunks.efficientnet import SameConvNorm
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.wide_resnet import PreActivationBlock


def prepare(
    model: SegmentationModel,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    as_on: str | None = None,
) -> SegmentationModel:
    """A copy in eval mode on `device`, its convolutions in `dtype`; `model` stays as it is.

    Folds norms into the convolutions before them and replaces OCR over HRNet by `OptimizedOCR`. On CPUs it runs 1x1
    convolutions by oneDNN, wide 3x3 convolutions by `inference.winograd`, and sums and ReLU6 within convolutions
    (`inference.fused_convs`, `inference.optimize_efficientnet`). Run a copy in less than float32 under autocast; layers
    that give logits or attention stay in float32. `as_on`: the kind of device whose form it takes, where memory is
    counted on the meta device.
    """
    device = torch.device(device)
    on_cpu = (as_on or device.type) == "cpu"
    prepared = copy.deepcopy(model).eval().requires_grad_(False)
    with torch.no_grad():
        _fold_norms(prepared)
        _optimize_head(prepared, on_cpu=on_cpu)
        for module in prepared.modules():
            if isinstance(module, nn.Conv2d) and not _decides(prepared, module):
                module.to(dtype)
        _decide_exactly(prepared)
        if on_cpu:
            use_winograd(prepared)
        if on_cpu and (device.type != "cpu" or dtype == torch.float64 or has_fused_convs(dtype)):
            fuse_sums(prepared)
        if on_cpu and (device.type != "cpu" or dtype == torch.float64 or has_clamped_convs(dtype)):
            fuse_clamps(prepared)
    if device.type == "cpu":
        prefer_onednn(prepared)
    return to_channels_last(prepared).to(device)


def _decides(model: SegmentationModel, layer: nn.Module) -> bool:
    """Whether it gives logits or attention. The last layer of explicit attention is none of the classifiers."""
    explicit = isinstance(model.attention, ExplicitAttention) and layer is model.attention.last
    return explicit or isinstance(layer, ClassifierConv)


def _decide_exactly(model: SegmentationModel) -> None:
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if _decides(model, layer):
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
    setattr(owner, name, folded(conv, norm))
    follower.norm = nn.Identity()


def _optimize_head(model: SegmentationModel, *, on_cpu: bool) -> None:
    trunk, head = model.trunk, model.head
    if isinstance(trunk, HRNet) and isinstance(head, OCRHead):
        by_rows = on_cpu and not model.fusion.fixed_scales  # those read the features of all scales at once
        model.head = OptimizedOCR(head, trunk.branch_channels, split=on_cpu, by_rows=by_rows)
        model.trunk = Branches(trunk, by_rows=on_cpu)
        if isinstance(model.attention, ScaleAttention):
            model.attention = AttentionByRows(model.attention)
