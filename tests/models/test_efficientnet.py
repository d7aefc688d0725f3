"""EfficientNet: its published sizes, its padding against loops, and what dilation keeps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autolabel.inference.optimize import prepare
from autolabel.models import build_model
from autolabel.models.flops import count_training
from autolabel.models.trunks import TRUNKS
from autolabel.models.trunks.efficientnet import EfficientNet, EfficientNetShape, SameConvNorm, Stage

# Parameters of the ImageNet networks in millions (arXiv 1905.11946, table 2, and tensorflow/tpu's table of Lite), the
# width of their last 1x1.
PUBLISHED = {
    "b0": (5.3, 1280), "b1": (7.8, 1280), "b2": (9.1, 1408), "b3": (12.2, 1536), "b4": (19.3, 1792),
    "b5": (30.4, 2048), "b6": (43.0, 2304), "b7": (66.3, 2560),
    "lite0": (4.7, 1280), "lite1": (5.4, 1280), "lite2": (6.1, 1280), "lite3": (8.2, 1280), "lite4": (13.0, 1280),
}  # fmt: skip


def randomise_norms(network: nn.Module) -> nn.Module:
    """Random norms, so that no two weights are interchangeable and every block contributes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    """The published number includes the last 1x1, its norm and the classifier, which a trunk does not have."""
    millions, last = PUBLISHED[name]
    with torch.device("meta"):
        trunks = [TRUNKS[f"efficientnet_{name}{ending}"]() for ending in ("", "_os16", "_os8")]
    counts = {sum(p.numel() for p in trunk.parameters()) for trunk in trunks}
    assert len(counts) == 1, "dilation has no weights"
    classifier = trunks[0].channels * last + 2 * last + 1000 * (last + 1)
    assert (counts.pop() + classifier) / 1e6 == pytest.approx(millions, abs=0.1)
    assert [trunk.stride for trunk in trunks] == [32, 16, 8]
    assert [sorted(trunk.skip_channels) for trunk in trunks] == [[2, 4, 8, 16], [2, 4, 8], [2, 4]]


@pytest.mark.slow
def test_b0_costs_what_is_published() -> None:
    """0.39 G multiply-adds at 224 x 224 (table 2), of which the last 1x1 has 20 M and the classifier 1.3 M."""
    table = {"trunk": "efficientnet_b0", "head": "conv", "fusion": "single"}
    trunk = count_training(table, 2, (224, 224)).flops.trunk / 2
    assert (trunk + 320 * 1280 * 7 * 7 + 1280 * 1000) / 1e9 == pytest.approx(0.39, abs=0.005)


def same_by_loops(image: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's definition of "SAME": (ceil(n / s) - 1) s + k - n zeros in all, the odd one at the end."""
    (height, width), k = image.shape, len(weight)
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    down, across = (max((n - 1) * stride + k - size, 0) for n, size in ((rows, height), (columns, width)))
    padded = np.pad(image, ((down // 2, down - down // 2), (across // 2, across - across // 2)))
    return np.array(
        [
            [(padded[i * stride : i * stride + k, j * stride : j * stride + k] * weight).sum() for j in range(columns)]
            for i in range(rows)
        ]
    )


@pytest.mark.parametrize("size", [(1, 1), (6, 7), (7, 6), (8, 9), (3, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("channels", [1, 2])
def test_same_padding_is_tensorflows(size: tuple[int, int], kernel: int, stride: int, channels: int) -> None:
    """Full and depthwise convolutions."""
    layer = SameConvNorm(channels, channels, kernel, stride=stride, groups=channels).double().eval()
    image = torch.randn(1, channels, *size, dtype=torch.float64)
    weight = layer.conv.weight.detach().numpy()
    with torch.no_grad():
        found = layer(image)[0].numpy() * math.sqrt(1 + 1e-3)  # the fresh norm divides by it
    for channel in range(channels):
        expected = same_by_loops(image[0, channel].numpy(), weight[channel, 0], stride)
        np.testing.assert_allclose(found[channel], expected, atol=1e-12)


def test_gradients_of_a_strided_depthwise_convolution() -> None:
    layer = SameConvNorm(2, 2, 5, stride=2, groups=2).conv.double()
    image = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    padded = torch.nn.functional.pad(image, (2, 2, 1, 2))
    expected = torch.nn.functional.conv2d(padded, layer.weight, None, 2, groups=2)
    inputs = image, layer.weight
    grad = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(layer(image), inputs, grad), torch.autograd.grad(expected, inputs, grad), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("ending", "step"), [("_os16", 2), ("_os8", 4)])
def test_dilation_computes_the_same_features_and_those_between(ending: str, step: int) -> None:
    """Without squeeze-and-excitation, which sees more pixels then."""
    torch.manual_seed(0)
    coarse = randomise_norms(TRUNKS["efficientnet_lite0"]())
    dense = TRUNKS[f"efficientnet_lite0{ending}"]().eval()
    dense.load_state_dict(coarse.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, found = coarse(images), dense(images)
    assert found.skips.keys() < expected.skips.keys()
    for stride, features in found.skips.items():
        assert torch.equal(features, expected.skips[stride])
    # A strided window over an even size is centred on an odd pixel.
    torch.testing.assert_close(found.high[..., step - 1 :: step, step - 1 :: step], expected.high, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("trunk", ["efficientnet_b0", "efficientnet_lite0_os8"])
def test_prepared_for_inference(trunk: str) -> None:
    torch.manual_seed(0)
    table = {"trunk": trunk, "head": "fpn", "fusion": "hierarchical", "key_channels": 32, "attention_channels": 8}
    model = randomise_norms(build_model(table, 3))
    images = torch.randn(1, 3, 75, 98)
    with torch.no_grad():
        expected, prepared = model(images).fused, prepare(model)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.modules())
        assert (prepared(images).fused - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("lite", [True, False])
def test_every_parameter_learns(lite: bool) -> None:
    torch.manual_seed(0)
    stages = (Stage(1, 8, 3, 1, expansion=1), Stage(2, 16, 5, 2, expansion=2))
    trunk = randomise_norms(EfficientNet(EfficientNetShape(8, stages, lite=lite))).train()
    trunk(torch.randn(2, 3, 32, 32)).high.square().mean().backward()
    assert [name for name, p in trunk.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_block_that_changes_nothing_of_the_shape_starts_as_the_identity() -> None:
    trunk: Any = TRUNKS["efficientnet_lite0"]()
    residual = [block for block in trunk.blocks if block.residual]
    assert len(residual) == 16 - 7, "all but the first of every stage"
    x = torch.randn(2, 24, 8, 8)
    assert torch.equal(trunk.blocks[2](x), x)
