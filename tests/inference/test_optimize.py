"""An optimized network is the same function: equal in float64 except for rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autolabel.inference import optimize_hrnet
from autolabel.inference.branch_convs import (
    ConcatConv,
    PointwiseBranchConv,
    Rows,
    SpatialBranchConv,
    resize_and_concatenate,
)
from autolabel.inference.optimize import _fold_norms, prepare
from autolabel.inference.optimize_hrnet import OptimizedOCR
from autolabel.models import SegmentationModel, build_model

SMALL = {"head_channels": 16, "key_channels": 8, "attention_channels": 8}
NETWORKS = [
    ("hrnet_tiny", "ocr", "hierarchical"),
    ("hrnet_tiny", "conv", "single"),
    ("resnet_tiny", "ocr", "explicit"),
    ("xception_tiny", "deeper", "single"),
    ("wide_resnet_tiny", "deeplabv3plus", "hierarchical"),
    ("resnet_tiny_os16", "deeperlab", "single"),
]


def trained(trunk: str, head: str, fusion: str) -> SegmentationModel:
    """A network in float64 with norms that are not the identity."""
    torch.manual_seed(0)
    model = build_model({"trunk": trunk, "head": head, "fusion": fusion, **SMALL}, 5).double().eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.2, 0.6)
            nn.init.normal_(norm.bias, std=0.1)
        elif isinstance(norm, nn.Conv2d) and norm.bias is not None:
            nn.init.normal_(norm.bias, std=0.1)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(("trunk", "head", "fusion"), NETWORKS, ids=lambda name: name)
@pytest.mark.parametrize("size", [(64, 96), (37, 50), (1, 1)], ids=str)
def test_same_maps(trunk: str, head: str, fusion: str, size: tuple[int, int]) -> None:
    model = trained(trunk, head, fusion)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    prepared = prepare(model, dtype=torch.float64)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        expected = model.scale_maps(images, model.training_scales)
        maps = prepared.scale_maps(images, model.training_scales)
    for ours, theirs in zip(maps, expected, strict=True):
        assert theirs.logits.std() > 1e-3 or size == (1, 1)
        torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-11, atol=1e-11)
        if theirs.attention is not None:
            torch.testing.assert_close(ours.attention, theirs.attention, rtol=1e-11, atol=1e-11)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "the model itself changed"


@pytest.mark.slow
def test_norms_are_gone_where_a_convolution_precedes_them() -> None:
    def norms(model: nn.Module) -> int:
        return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())

    assert norms(prepare(trained(*NETWORKS[0]), dtype=torch.float64)) == 0
    assert norms(prepare(trained(*NETWORKS[3]), dtype=torch.float64)) == 0
    wide = trained(*NETWORKS[4])
    assert norms(prepare(wide, dtype=torch.float64)) == sum(len(group) for group in wide.trunk.groups)  # after a sum


@pytest.mark.parametrize("split", [False, True])
def test_optimized_head_in_both_forms(split: bool) -> None:
    """The forms for CPUs and for other devices: features and auxiliary logits too."""
    model = trained(*NETWORKS[0])
    images = torch.randn(2, 3, 40, 56, dtype=torch.float64)
    with torch.no_grad():
        expected = model.head(model.trunk(images))
        _fold_norms(model)
        out = OptimizedOCR(model.head, model.trunk.branch_channels, split=split)(model.trunk.branches(images))
    for ours, theirs in zip(out[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("size", [(90, 70), (128, 64)], ids=str)  # branches whose rows divide, and others
def test_strips_are_the_whole(size: tuple[int, int], kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trunk's first layers, the head and the attention, of a small and of an enlarged image."""
    model = trained(*NETWORKS[0])
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        expected = model.raw_maps(images, (2.0, 1.0, 0.5))
    monkeypatch.setattr(optimize_hrnet, "_STRIP_VALUES", 1)
    monkeypatch.setattr(optimize_hrnet, "_HEAD_STRIP_VALUES", 1)
    monkeypatch.setattr(optimize_hrnet, "_KEPT_PIXELS", 1 << 28 if kept else 0)
    prepared = prepare(model, dtype=torch.float64)
    seen = []
    prepared.trunk.trunk.stem.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2]))
    with torch.no_grad():
        maps = prepared.raw_maps(images, (2.0, 1.0, 0.5))
    assert len(seen) > 20
    assert max(seen) < size[0], "an image is never whole"
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-11, atol=1e-11)
        if theirs.attention is not None and theirs.scale < 2:
            torch.testing.assert_close(ours.attention, theirs.attention, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16), (17, 33), (40, 49)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution_of_branches(size: tuple[int, int], kernel: int) -> None:
    """Compared with concatenation, also at the borders, where the convolution reads zeros."""
    generator = torch.Generator().manual_seed(2)
    channels, stride = (3, 4, 5, 2), (1, 2, 4, 8)
    branches = [
        torch.randn(2, c, -(-size[0] // s), -(-size[1] // s), generator=generator, dtype=torch.float64)
        for c, s in zip(channels, stride, strict=True)
    ]
    conv = nn.Conv2d(sum(channels), 6, kernel, padding=kernel // 2, dtype=torch.float64).requires_grad_(False)
    expected = conv(resize_and_concatenate(branches))
    assert torch.equal(ConcatConv(conv, channels)(branches), expected)
    kind = SpatialBranchConv if kernel == 3 else PointwiseBranchConv
    torch.testing.assert_close(kind(conv, channels)(branches), expected, rtol=0, atol=1e-12)
    for top, bottom in ((0, size[0]), (size[0] // 3, size[0] // 2 + 1)):
        part = kind(conv, channels)(branches, Rows(top, bottom))
        torch.testing.assert_close(part, expected[:, :, top:bottom], rtol=0, atol=1e-12)


def test_half_precision_copy() -> None:
    prepared = prepare(trained(*NETWORKS[0]).float(), dtype=torch.bfloat16)
    images = torch.randn(1, 3, 40, 56)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = prepared.forward_scale(images)
    assert out.logits.dtype == torch.float32
    assert prepared.trunk.trunk.stem[0].conv.weight.dtype == torch.bfloat16
    assert prepared.head.classifier.layer.weight.dtype == torch.float32, "logits are not rounded"
    assert prepared.attention.last.layer.weight.dtype == torch.float32
    with torch.no_grad():
        expected = trained(*NETWORKS[0]).float().forward_scale(images)
    torch.testing.assert_close(out.logits, expected.logits, rtol=0.05, atol=0.05 * float(expected.logits.std()))
