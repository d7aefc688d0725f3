"""timm's networks as trunks: what they give, under which heads they train, and that their weights come back."""

from __future__ import annotations

import pytest
import timm
import torch

from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError
from autolabel.inference.optimize import prepare
from autolabel.losses import training_loss
from autolabel.models import WeightsCard, build_model, weights_from_bytes, weights_to_bytes
from autolabel.models.trunks import build_trunk

WIDTHS = {"head_channels": 32, "key_channels": 32, "attention_channels": 16}
NAMES = ("road", "building", "car")


@pytest.mark.parametrize(
    ("name", "stride", "channels", "skip_channels"),
    [
        ("efficientnet_b4", 8, 448, {2: 24, 4: 32}),
        ("efficientnet_b4_os16", 16, 448, {2: 24, 4: 32, 8: 56}),
        ("tf_efficientnet_b4", 8, 448, {2: 24, 4: 32}),
        ("resnet18", 8, 512, {2: 64, 4: 64}),
        ("mobilenetv3_small_050", 8, 288, {2: 16, 4: 8}),
        ("test_convnext", 8, 64, {4: 24}),
        ("test_mambaout", 32, 64, {4: 16, 8: 32, 16: 48}),  # channels last
        ("efficientvit_m0", 64, 192, {16: 64}),
        ("test_vit", 16, 64, {}),
    ],
)
def test_features_have_the_strides_and_channels_they_say(
    name: str, stride: int, channels: int, skip_channels: dict[int, int]
) -> None:
    trunk = build_trunk(f"timm:{name}").eval()
    assert (trunk.stride, trunk.channels, dict(trunk.skip_channels)) == (stride, channels, skip_channels)
    height, width = 2 * trunk.size_divisor, 3 * trunk.size_divisor
    with torch.no_grad():
        high, low = trunk(torch.randn(1, 3, height, width))
    assert high.shape == (1, channels, height // stride, width // stride)
    assert {s: tuple(x.shape) for s, x in low.items()} == {
        s: (1, c, height // s, width // s) for s, c in skip_channels.items()
    }


@pytest.mark.parametrize("name", ["efficientnet_b4", "tf_efficientnet_b4"])
def test_efficientnet_b4_has_its_published_size(name: str) -> None:
    """19.3 M parameters with the last convolution (448 to 1792, and its norm) and the classifier of 1000 classes."""
    with torch.device("meta"):
        trunk = build_trunk(f"timm:{name}")
    assert sum(p.numel() for p in trunk.parameters()) == 19_341_616 - (448 + 2) * 1792 - (1792 + 1) * 1000


@pytest.mark.parametrize("head", ["ocr", "deeplabv3plus"])
def test_efficientnet_b4_trains_and_its_weights_come_back(head: str) -> None:
    torch.manual_seed(0)
    table = ModelConfig(trunk="timm:efficientnet_b4", head=head, **WIDTHS)
    model = build_model(table, len(NAMES)).train()
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training_loss(model(torch.randn(2, 3, 40, 64)), torch.randint(3, (2, 40, 64)), loss="ce").backward()
    optimizer.step()
    still = [key for key, value in model.named_parameters() if torch.equal(value, before[key])]
    assert [key for key in still if not key.endswith("conv.bias")] == []  # a bias before a norm has no effect

    images = torch.randn(1, 3, 37, 50)
    again, card = weights_from_bytes(weights_to_bytes(model, WeightsCard(table=table, class_names=NAMES)), "x")
    with torch.no_grad():
        out, same = model.eval()(images), again(images)
    assert card.table == table
    assert out.fused.shape == (1, 3, 37, 50)
    assert out.fused.isfinite().all()
    assert torch.equal(out.fused, same.fused)


@pytest.mark.parametrize("size", [(1, 1), (37, 50), (65, 130)])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_mambaout", "efficientvit_m0", "test_vit"])
def test_any_image_size_before_and_after_a_file(name: str, size: tuple[int, int]) -> None:
    """efficientvit_m0 has buffers that no file holds."""
    torch.manual_seed(0)
    table = ModelConfig(trunk=f"timm:{name}", head="conv", **WIDTHS)
    model = build_model(table, 3).eval()
    images = torch.randn(1, 3, *size)
    again, _ = weights_from_bytes(weights_to_bytes(model, WeightsCard(table=table, class_names=NAMES)), "x")
    with torch.no_grad():
        evidence, out, same = model.forward_scale(images), model(images).fused, again(images).fused
    stride = model.trunk.stride
    assert evidence.logits.shape == (1, 3, -(-size[0] // stride), -(-size[1] // stride))
    assert out.shape == (1, 3, *size)
    assert out.isfinite().all()
    assert torch.equal(out, same)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "efficientnet_b44",
            r"timm has no network 'efficientnet_b44'; did you mean 'efficientnet_b4'\? timm",
        ),
        ("resnet50.a1_in1k", r"timm has no network 'resnet50\.a1_in1k'; did you mean 'resnet50'\? timm"),
        ("hf-hub:some/one", r"timm has no network 'hf-hub:some/one'; timm\.list_models\(\) lists all \d+"),
        ("local-dir:/tmp", "timm has no network 'local-dir:/tmp'; timm"),
        ("", "timm has no network ''; timm"),
        ("test_maxvit", r"'test_maxvit' cannot be a trunk for images of any size: height \(24\) must be divisible by"),
        ("beit_base_patch16_224", r"'beit_base_patch16_224' cannot be .*: Input height \(48\) doesn't match model"),
        ("inception_v3", r"'inception_v3' cannot be .*: for 96 x 160 pixels, its levels of strides .* have shapes"),
    ],
)
def test_what_cannot_be_a_trunk_is_explained(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.trunk: .*{message}") as error:
        build_trunk(f"timm:{name}")
    assert "\n" not in str(error.value)


def test_no_network_of_timm_looks_like_one_of_stride_16() -> None:
    assert [name for name in timm.list_models() if name.endswith("_os16")] == []


@pytest.mark.parametrize("name", ["test_efficientnet", "tf_mobilenetv3_small_075", "test_nfnet", "test_mambaout"])
def test_prepared_for_inference(name: str) -> None:
    """timm's own convolutions (padded as TensorFlow does, with standardised weights) bear what inference does."""
    torch.manual_seed(0)
    model = build_model({"trunk": f"timm:{name}", "head": "deeplabv3plus", **WIDTHS}, 3).eval()
    images = torch.randn(1, 3, 37, 50)
    with torch.no_grad():
        expected, got = model(images).fused, prepare(model)(images).fused
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


def test_same_seed_same_weights() -> None:
    """Probing on the meta device draws no random numbers."""

    def build() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return build_trunk("timm:test_efficientnet").state_dict()

    alone = (torch.manual_seed(3), timm.create_model("test_efficientnet", features_only=True, output_stride=8))[1]
    for mine, again, theirs in zip(build().values(), build().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(mine, again)
        assert torch.equal(mine, theirs)
