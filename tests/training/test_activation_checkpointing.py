from __future__ import annotations

import pytest
import torch
from torch import nn

from autolabel.config.networks import ModelConfig
from autolabel.losses import training_loss
from autolabel.models import build_model
from autolabel.models.trunks import TRUNKS
from autolabel.training.activation_checkpointing import checkpoint_activations

TINY = sorted(name for name in TRUNKS if "tiny" in name)


def network(trunk: str) -> nn.Module:
    torch.manual_seed(0)
    table = ModelConfig(trunk=trunk, head_channels=8, key_channels=8, attention_channels=8)
    return build_model(table, 3).train()


def step(model: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Loss, gradients and buffers of one pass over two images."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    labels = torch.randint(0, 3, (2, 64, 64), generator=generator)
    torch.manual_seed(2)  # some trunks have dropout
    loss = training_loss(model(images), labels, loss="ce")
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, dict(model.named_buffers())


@pytest.mark.slow
@pytest.mark.parametrize("trunk", TINY)
def test_gradients_and_statistics_stay_the_same(trunk: str) -> None:
    plain, thrifty = network(trunk), network(trunk)
    checkpoint_activations(thrifty)
    expected, found = step(plain), step(thrifty)
    assert found[1].keys() == expected[1].keys() == dict(plain.named_parameters()).keys(), "each gets a gradient"
    assert list(thrifty.state_dict()) == list(plain.state_dict())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("trunk", TINY)
def test_every_block_runs_twice_in_training_and_once_in_validation(trunk: str) -> None:
    model, runs = network(trunk), [0]
    blocks = model.trunk.checkpoint_blocks()
    assert blocks != [model.trunk], "a trunk of ours says what its blocks are"
    blocks.append(model.head)
    for block in blocks:
        first = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
        first.register_forward_hook(lambda *_: runs.append(runs.pop() + 1))
    checkpoint_activations(model)
    step(model)
    scales = 2
    assert runs == [2 * scales * len(blocks)]
    with torch.inference_mode():
        model.eval()(torch.randn(1, 3, 64, 64))
    assert runs == [3 * scales * len(blocks)]


def test_validation_runs_as_before() -> None:
    model = network("hrnet_tiny").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model(images).fused
        checkpoint_activations(model)
        assert model(images).fused.equal(expected)
