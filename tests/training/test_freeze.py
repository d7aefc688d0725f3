"""Frozen parts of a trunk: they keep their bits, and the folded norm is the same function."""

from __future__ import annotations

import copy

import pytest
import torch

from autolabel.config.networks import FreezeConfig
from autolabel.errors import SettingError
from autolabel.models import SegmentationModel, build_model
from autolabel.training.freeze import freeze
from autolabel.training.optim import parameter_groups
from tests.models.test_efficientnet import randomise_norms
from tests.training.tiny_training import NAMES, settings, train

TABLE = {"trunk": "efficientnet_tiny_os8", "head": "conv", "fusion": "average", "key_channels": 8, "dropout": 0.0}


def model(trunk: str = "efficientnet_tiny_os8") -> SegmentationModel:
    torch.manual_seed(0)
    network = build_model({**TABLE, "trunk": trunk}, len(NAMES))
    randomise_norms(network)
    return network


def changed(network: SegmentationModel, **options: object) -> set[str]:
    """Names of the entries that a training changes."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train(network, table=settings(freeze=FreezeConfig(**options), epochs=2, crop=(32, 32), ema=0.0))
    return {name for name, value in network.state_dict().items() if not value.equal(before[name])}


def test_layers_up_to_a_stride_keep_their_bits_and_the_others_train() -> None:
    moved = changed(model(), stride=4)
    early = ("trunk.stem.", "trunk.blocks.0.", "trunk.blocks.1.")
    assert not [name for name in moved if name.startswith(early)]
    assert "trunk.blocks.2.depthwise.conv.weight" in moved
    assert "trunk.blocks.2.depthwise.norm.running_mean" in moved


def test_norms_and_depthwise_weights_of_the_trunk_keep_their_bits() -> None:
    moved = changed(model(), norms=True, depthwise=True)
    of_trunk = {name for name in moved if name.startswith("trunk.")}
    assert of_trunk
    assert not [name for name in of_trunk if ".norm." in name or ".depthwise." in name]
    assert any(name.startswith("head.") and "running_mean" in name for name in moved), "norms of the head train"


@pytest.mark.parametrize(("trunk", "stride"), [("hrnet_tiny", 4), ("resnet_tiny", 8)])
def test_other_trunks(trunk: str, stride: int) -> None:
    network = model(trunk)
    frozen = [layer for at, layer in network.trunk.layers_by_stride() if at <= stride]
    kept = [copy.deepcopy(layer.state_dict()) for layer in frozen]
    assert changed(network, stride=stride)
    assert all(
        value.equal(state[name])
        for layer, state in zip(frozen, kept, strict=True)
        for name, value in layer.state_dict().items()
    )


@pytest.mark.parametrize("trunk", ["efficientnet_tiny_os8", "resnet_tiny", "hrnet_tiny", "xception_tiny"])
def test_a_folded_norm_gives_the_same_output_and_gradients(trunk: str) -> None:
    """The reference is the unfolded network in eval mode, with the gradients of its convolutions."""
    network = model(trunk).double()
    plain = copy.deepcopy(network).eval()
    freeze(network.train(), FreezeConfig(norms=True))
    network.head.eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    ours, theirs = network(images).fused, plain(images).fused
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    reference = dict(plain.named_parameters())
    compared = 0
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, reference[name].grad, rtol=1e-7, atol=1e-9)
            compared += 1
    assert compared > 5


def test_a_trunk_without_strides_says_so() -> None:
    with pytest.raises(SettingError, match=r"freeze\.stride.*cannot be told apart"):
        freeze(model("wide_resnet_tiny"), FreezeConfig(stride=4))


def test_the_trunk_has_its_own_learning_rate() -> None:
    network = model()
    groups = parameter_groups(network, settings(trunk_lr=0.1, weight_decay=0.5))
    trunk = {id(p) for p in network.trunk.parameters()}
    for group in groups:
        assert {id(p) in trunk for p in group["params"]} == {group["lr_factor"] == 0.1}
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.5}
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
