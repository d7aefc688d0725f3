"""Our own trunks against timm's, which others wrote: the same weights under the published keys, the same features.

timm dilates and fuses a little differently; what is set below is all of it.
"""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from autolabel.models import SegmentationModel, build_model, published_keys, published_state
from autolabel.models.resize import resize

TRUNK = "backbone."


def ours(trunk: str) -> SegmentationModel:
    """With norms that have something to do."""
    torch.manual_seed(0)
    model = build_model({"trunk": trunk, "head": "conv", "fusion": "single", "key_channels": 8}, 2).eval()
    for module in model.trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            for centred in (module.bias, module.running_mean):
                centred.data.copy_(0.1 * torch.randn_like(centred))
            for positive in (module.weight, module.running_var):
                positive.data.copy_(0.5 + torch.rand_like(positive))
    return model


def trunk_state(model: SegmentationModel) -> dict[str, torch.Tensor]:
    return {key.removeprefix(TRUNK): value for key, value in published_state(model).items() if key.startswith(TRUNK)}


def assert_close(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    """Against float32 noise, relative to the spread."""
    assert mine.shape == theirs.shape
    assert (mine - theirs).abs().max() < 1e-4 * theirs.std()


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
