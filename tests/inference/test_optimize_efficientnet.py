"""The fast form of an EfficientNet-Lite is the same function, and broken weights stay visible."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from autolabel.inference.optimize import prepare
from autolabel.inference.optimize_efficientnet import FusedInvertedResidual, FusedSameConv, fused_layer
from autolabel.models import build_model
from autolabel.models.trunks.efficientnet import InvertedResidual, SameConvNorm, Stage, relu6
from tests.models.test_efficientnet import randomise_norms

PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]


def block(*, channels: int = 16, kernel: int = 3, stride: int = 1, dilation: int = 1, lite: bool = True) -> nn.Module:
    torch.manual_seed(0)
    table = Stage(1, channels, kernel, stride, expansion=2)
    made = InvertedResidual(16, table, first=True, stride=stride, dilation=dilation, lite=lite)
    return randomise_norms(made).requires_grad_(False)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel": 5, "dilation": 2},
        {"stride": 2},
        {"kernel": 5, "stride": 2, "channels": 24},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 1), (8, 12), (7, 10)], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=str)
def test_a_block_is_the_same_function(
    options: dict[str, int], size: tuple[int, int], dtype: torch.dtype, tolerance: float
) -> None:
    """Compared in float64, with large inputs, so that the ReLU6 acts at both ends."""
    plain = block(**options).to(torch.float64 if dtype == torch.float64 else torch.float32)
    fused = fused_layer(plain)
    assert isinstance(fused, FusedInvertedResidual)
    x = (4 * torch.randn(2, 16, *size)).to(dtype).contiguous(memory_format=torch.channels_last)
    expected = plain.double()(x.double())
    found = fused.to(dtype).to(memory_format=torch.channels_last)(x.clone(memory_format=torch.preserve_format))
    assert found.dtype == dtype
    scale = expected.abs().max().item()
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance * scale)


def test_the_stem_is_the_same_function() -> None:
    torch.manual_seed(0)
    plain = randomise_norms(SameConvNorm(3, 8, 3, stride=2, activation=relu6)).requires_grad_(False)
    fused = fused_layer(plain)
    assert isinstance(fused, FusedSameConv)
    images = 4 * torch.randn(2, 3, 9, 12)
    torch.testing.assert_close(fused(images), plain(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("layer", ["stem", "blocks.1.expand", "blocks.1.depthwise", "blocks.1.project"])
@torch.inference_mode()
def test_broken_weights_stay_visible(layer: str, value: float) -> None:
    """oneDNN's ReLU6 makes 0 of NaN, in the layers behind the broken one, too."""
    torch.manual_seed(0)
    table = {"trunk": "efficientnet_lite0", "head": "fpn", "fusion": "average", "head_channels": 8}
    model = build_model(table, 3).eval()
    broken = model.trunk.get_submodule(layer).conv.weight
    broken[0, 0, 0, 0] = value
    images = torch.randn(1, 3, 64, 96)
    found, expected = (one.forward_scale(images).logits for one in (prepare(model), model))
    assert torch.equal(found.isfinite(), expected.isfinite())
    broken[0, 0, 0, 0] = 0
    assert any(isinstance(one, FusedSameConv) for one in prepare(model).modules()), "sound weights"


def test_other_layers_have_no_fused_form() -> None:
    assert fused_layer(block(lite=False)) is None, "squeeze-and-excitation and SiLU"
    assert fused_layer(SameConvNorm(3, 8)) is None, "no activation"
    assert fused_layer(nn.Conv2d(3, 8, 1)) is None
