"""Our own trunks against timm's, which others wrote: the same weights under the published keys, the same features.

timm dilates and fuses a little differently; what is set below is all of it.
"""

from __future__ import annotations

import io

import pytest
import timm
import torch
from torch import nn

from autolabel.config.networks import ModelConfig
from autolabel.models import SegmentationModel, build_model, published_keys, published_state, start_from
from autolabel.models.published import import_weights
from autolabel.models.resize import resize

TRUNK = "backbone."
SIDE = 75


def ours(trunk: str) -> SegmentationModel:
    """With norms that have something to do."""
    torch.manual_seed(0)
    model = build_model({"trunk": trunk, "head": "conv", "fusion": "single", "key_channels": 8}, 2).eval()
    randomise_norms(model.trunk)
    return model


def randomise_norms(network: nn.Module) -> None:
    for module in network.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            for centred in (module.bias, module.running_mean):
                centred.data.copy_(0.1 * torch.randn_like(centred))
            for positive in (module.weight, module.running_var):
                positive.data.copy_(0.5 + torch.rand_like(positive))


def trunk_state(model: SegmentationModel) -> dict[str, torch.Tensor]:
    return {key.removeprefix(TRUNK): value for key, value in published_state(model).items() if key.startswith(TRUNK)}


def assert_close(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    """Against noise, relative to the spread: that of float32, and no more than is left of it in float64."""
    assert mine.shape == theirs.shape
    assert mine.dtype == theirs.dtype
    bound = 1e-4 if mine.dtype == torch.float32 else 1e-9
    assert (mine - theirs).abs().max() < bound * theirs.std()


def test_all_keys_of_hrnet_w48_are_timms() -> None:
    with torch.device("meta"):
        keys = published_keys(build_model({"trunk": "hrnet_w48"}, 19))
        theirs = timm.create_model("hrnet_w48").state_dict()
    trunk = {key.removeprefix(TRUNK): shape for key, shape in keys.items() if key.startswith(TRUNK)}
    assert len(trunk) == 1830
    assert {key: tuple(theirs[key].shape) for key in trunk} == trunk


@pytest.mark.parametrize(
    ("mine", "name"), [("hrnet_w18_small_v1", "hrnet_w18_small"), ("hrnet_w18_small_v2", "hrnet_w18_small_v2")]
)
def test_hrnet(mine: str, name: str) -> None:
    """Its branches, resized to stride 4 and joined. timm's ImageNet network fuses by the nearest neighbour."""
    model, theirs = ours(mine), timm.create_model(name).eval()
    problems = theirs.load_state_dict(trunk_state(model), strict=False)
    assert problems.unexpected_keys == []
    assert {key.partition(".")[0] for key in problems.missing_keys} == {
        "incre_modules", "downsamp_modules", "final_layer", "classifier",
    }  # fmt: skip
    for module in theirs.modules():
        if isinstance(module, nn.Upsample):
            module.mode, module.align_corners = "bilinear", False
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stem = theirs.act2(theirs.bn2(theirs.conv2(theirs.act1(theirs.bn1(theirs.conv1(images))))))
        branches = theirs.stages(stem)
        joined = torch.cat([resize(branch, (16, 24)) for branch in branches], dim=1)
        assert_close(model.trunk(images).high, joined)


@pytest.mark.parametrize("stride", [8, 16])
def test_resnet50(stride: int) -> None:
    """timm's first block of a dilated stage still has the dilation of the stage before; the published one its own."""
    model = ours({8: "resnet50", 16: "resnet50_os16"}[stride])
    theirs = timm.create_model("resnet50", features_only=True, output_stride=stride).eval()
    stem = {"layer0.0.": "conv1.", "layer0.1.": "bn1."}
    state = {stem.get(key[:9], key[:9]) + key[9:]: value for key, value in trunk_state(model).items()}
    theirs.load_state_dict(state)
    for layer in (theirs.layer3, theirs.layer4):
        layer[0].conv2.dilation = layer[0].conv2.padding = layer[1].conv2.dilation
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features, (first, low, _, _, high) = model.trunk(images), theirs(images)
    assert_close(features.skips[2], first)
    assert_close(features.skips[4], low)
    assert_close(features.high, high)


@pytest.mark.parametrize(
    ("mine", "name"),
    [
        ("efficientnet_b0", "tf_efficientnet_b0"),
        ("efficientnet_b4_os16", "tf_efficientnet_b4"),
        ("efficientnet_lite0_os8", "tf_efficientnet_lite0"),
        ("efficientnet_lite2", "tf_efficientnet_lite2"),
        ("efficientnet_lite4", "tf_efficientnet_lite4"),
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (75, 50)])
def test_efficientnet(mine: str, name: str, size: tuple[int, int]) -> None:
    """timm's `tf_` networks pad as TensorFlow does. In float64, for depth amplifies the noise of float32. Their file
    goes through the import, classifier and all."""
    torch.manual_seed(0)
    whole = timm.create_model(name)
    randomise_norms(whole)
    buffer = io.BytesIO()
    torch.save(whole.state_dict(), buffer)
    imported = import_weights(buffer.getvalue(), name)
    assert imported.card.trunk == mine.partition("_os")[0]
    assert {key.partition(".")[0] for key in imported.notes.left_out} == {"conv_head", "bn2", "classifier"}
    table = ModelConfig(trunk=mine, head="conv", fusion="single", key_channels=8)
    trunk = start_from(imported.data, name, table, ("a", "b"))[0].trunk.double().eval()
    theirs = timm.create_model(name, features_only=True, output_stride=trunk.stride).eval()
    state = theirs.state_dict()
    theirs.load_state_dict({key: value for key, value in whole.state_dict().items() if key in state})
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        features, levels = trunk(images), theirs.double()(images)
    for stride, level in zip((2, 4, 8, 16), levels[:-1], strict=True):
        if stride < trunk.stride:
            assert_close(features.skips[stride], level)
    assert_close(features.high, levels[-1])


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("efficientnet_lite_pytorch", "efficientnet-lite0"),
        ("efficientnet_lite_pytorch", "efficientnet-lite3"),
        ("efficientnet_pytorch", "efficientnet-b0"),
        ("efficientnet_pytorch", "efficientnet-b5"),
    ],
)
def test_efficientnet_pytorch(package: str, name: str) -> None:
    """Its networks pad for the one size that they are built with."""
    public = pytest.importorskip(package).EfficientNet
    torch.manual_seed(0)
    theirs = public.from_name(name, image_size=SIDE)
    randomise_norms(theirs)
    buffer = io.BytesIO()
    torch.save(theirs.state_dict(), buffer)
    imported = import_weights(buffer.getvalue(), name)
    mine = name.replace("-", "_")
    assert imported.card.trunk == mine
    table = ModelConfig(trunk=mine, head="conv", fusion="single", key_channels=8)
    trunk = start_from(imported.data, name, table, ("a", "b"))[0].trunk.double().eval()
    blocks: list[torch.Tensor] = []
    theirs._blocks[-1].register_forward_hook(lambda module, inputs, out: blocks.append(out))
    images = torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64)
    with torch.no_grad():
        theirs.double().extract_features(images)
        assert_close(trunk(images).high, blocks[0])
