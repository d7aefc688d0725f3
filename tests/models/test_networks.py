"""Building networks, and their output at any image size."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError
from autolabel.models import SegmentationModel, build_model
from autolabel.models.trunks import TRUNKS
from autolabel.models.trunks.hrnet import BasicBlock, Bottleneck

SMALL = {"trunk": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "attention_channels": 8}


@pytest.fixture(scope="module")
def tiny() -> SegmentationModel:
    torch.manual_seed(0)
    return build_model(SMALL, 7).eval()


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.slow
def test_parameters_of_the_published_network() -> None:
    with torch.device("meta"):
        assert count(build_model({"trunk": "hrnet_w48", "head": "ocr", "fusion": "hierarchical"}, 19)) == 72_143_430


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "channels", "millions"),
    [
        ("hrnet_w48", 720, 65.8),
        ("hrnet_w32", 480, 29.5),
        ("hrnet_w18", 270, 9.6),
        ("hrnet_w18_small_v2", 270, 3.9),
        ("hrnet_w18_small_v1", 240, 1.5),
    ],
)
def test_family_has_the_published_sizes(trunk: str, channels: int, millions: float) -> None:
    """Parameters with the plain head of the HRNet paper: 1x1 convolution and norm at full width, 1x1 to 19 classes."""
    with torch.device("meta"):
        network = TRUNKS[trunk]()
    head = channels * channels + 3 * channels + channels * 19 + 19
    assert network.channels == channels
    assert (count(network) + head) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(
    ("trunk", "channels", "parameters"),
    [
        ("resnet50", 2048, 25_557_032 - 2_049_000),  # of the ImageNet network, without its classifier
        ("resnet50_os16", 2048, 25_557_032 - 2_049_000),
        ("resnet101", 2048, 44_549_160 - 2_049_000),
        ("wide_resnet38", 4096, 105_062_720),
        ("xception71", 2048, 37_798_448),
    ],
)
def test_other_trunks_have_the_published_sizes(trunk: str, channels: int, parameters: int) -> None:
    with torch.device("meta"):
        network = TRUNKS[trunk]()
    assert network.channels == channels
    assert count(network) == parameters


@pytest.mark.parametrize(
    ("trunk", "stride"),
    [
        ("resnet_tiny", 8),
        ("resnet_tiny_os16", 16),
        ("wide_resnet_tiny", 8),
        ("xception_tiny", 8),
        ("hrnet_tiny", 4),
        ("efficientnet_tiny_os8", 8),
        ("efficientnet_lite0", 32),
        ("efficientnet_b0_os16", 16),
    ],
)
def test_features_have_the_stride_and_channels_they_say(trunk: str, stride: int) -> None:
    network = TRUNKS[trunk]().eval()
    with torch.no_grad():
        high, skips = network(torch.randn(1, 3, 61, 34))
    assert network.stride == stride
    assert high.shape == (1, network.channels, -(-61 // stride), -(-34 // stride))
    assert {s: tuple(x.shape) for s, x in skips.items()} == {
        s: (1, c, -(-61 // s), -(-34 // s)) for s, c in network.skip_channels.items()
    }


@pytest.mark.parametrize("trunk", ["hrnet_tiny", "hrnet_w18_small_v1", "hrnet_w18_small_v2"])
def test_output_is_at_stride_four(trunk: str) -> None:
    model = build_model(SMALL | {"trunk": trunk}, 3).eval()
    with torch.no_grad():
        out = model.forward_scale(torch.randn(2, 3, 61, 34))
    assert out.logits.shape == (2, 3, 16, 9)
    assert out.aux is not None
    assert out.aux.shape == (2, 3, 16, 9)
    assert out.attention is not None
    assert out.attention.shape == (2, 1, 16, 9)
    assert 0 < out.attention.min() < out.attention.max() < 1


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_any_image_size_works(tiny: SegmentationModel, height: int, width: int) -> None:
    with torch.no_grad():
        out = tiny(torch.randn(1, 3, height, width))
    assert out.fused_aux is not None
    for logits in (out.fused, out.fused_aux, *out.per_scale.values()):
        assert logits.shape == (1, 7, height, width)
        assert logits.isfinite().all()


def test_fresh_networks_trust_both_scales_and_no_class() -> None:
    torch.manual_seed(0)
    model = build_model(SMALL, 19).train()
    out = model.forward_scale(torch.randn(2, 3, 64, 64))
    assert out.attention is not None
    assert out.attention.mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.sigmoid(out.logits).mean().item() == pytest.approx(1 / 19, abs=0.01)


@pytest.mark.slow
def test_attention_is_left_out_on_request(tiny: SegmentationModel) -> None:
    assert tiny.forward_scale(torch.randn(1, 3, 32, 32), attention=False).attention is None


def test_single_fusion_has_no_attention_head() -> None:
    model = build_model(SMALL | {"fusion": "single"}, 4).eval()
    assert model.attention is None
    images = torch.randn(1, 3, 33, 40)
    out = model(images)
    assert out.per_scale == {}
    assert out.fused.shape == (1, 4, 33, 40)
    assert model.forward_scale(images).attention is None


def test_low_scale_is_a_setting() -> None:
    model = build_model(SMALL | {"low_scale": 0.25}, 4).eval()
    assert set(model(torch.randn(1, 3, 40, 40)).per_scale) == {0.25, 1.0}


@pytest.mark.slow
def test_half_precision_gives_float32_output(tiny: SegmentationModel) -> None:
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        exact = tiny(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = tiny(images)
    assert rough.fused.dtype == torch.float32
    assert (rough.fused - exact.fused).abs().max() < 0.05 * exact.fused.std() + 0.05


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    model = build_model(SMALL, 3).train()
    for module in model.modules():
        if isinstance(module, BasicBlock | Bottleneck):  # they start as the identity
            torch.nn.init.ones_((module.second if isinstance(module, BasicBlock) else module.expand).norm.weight)
    out = model(torch.randn(2, 3, 64, 64))
    (out.fused.square().mean() + out.fused_aux.square().mean()).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A bias in front of a batch norm has no effect; the published layout has it all the same.
    assert set(still) <= {"head.pixels.conv.bias", "head.aux.conv.bias"}


def test_same_seed_same_weights() -> None:
    def build() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return build_model(ModelConfig(trunk="hrnet_tiny", head_channels=8), 3).state_dict()

    assert all(torch.equal(a, b) for a, b in zip(build().values(), build().values(), strict=True))


def test_table_is_complete() -> None:
    model = build_model({"trunk": "hrnet_tiny"}, 3)
    assert model.table == ModelConfig(trunk="hrnet_tiny").model_dump()
    assert model.num_classes == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"trunk": "hrnet_w84"},
            r"model.trunk: unknown trunk 'hrnet_w84'; did you mean 'hrnet_w48'\? known: eff.* hrnet_tiny",
        ),
        (
            {"trunk": "hrnet_tiny", "head": "orc"},
            r"model.head: unknown head 'orc'; did you mean 'ocr'\? known: conv, deep",
        ),
        ({"softmax": True}, "model.softmax: hierarchical fusion has no softmax; leave it out, or use explicit"),
        (
            {"fusion": "hierarchic"},
            r"model.fusion: .* did you mean 'hierarchical'\? known: average, explicit, hierarchical, single",
        ),
        ({"trunk": "zzz"}, r"unknown trunk 'zzz'; known: "),
        ({"trunks": "hrnet_tiny"}, r"model.trunks: Extra inputs"),
        ({"dropout": 2.0}, r"model.dropout: Input should be less than or equal to 1"),
    ],
)
def test_a_wrong_table_is_explained(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(table, 3)


def test_classifiers_start_at_the_best_constant() -> None:
    """The constant prediction with the least sigmoid loss is p = 1 / K for balanced classes."""
    bias = build_model(SMALL, 11).head.classifier.bias
    assert torch.sigmoid(bias).detach().numpy() == pytest.approx([1 / 11] * 11)
    assert math.isfinite(build_model(SMALL, 1).head.classifier.bias.item())
