"""Optimizers without torch's compiler make the same steps."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn, optim

from autolabel.training import eager

KINDS = [(eager.SGD, optim.SGD, {"momentum": 0.9}), (eager.AdamW, optim.AdamW, {"weight_decay": 0.1})]


def steps(kind: type[optim.Optimizer], options: dict[str, float], *, resumed: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    layers = nn.Linear(5, 4), nn.Linear(5, 4)
    groups = [{"params": list(layers[0].parameters())}, {"params": list(layers[1].parameters()), "lr": 0.2}]
    optimizer = kind(groups, lr=0.1, fused=True, **options)
    for _ in range(4):
        optimizer.zero_grad()
        sum(layer(torch.randn(3, 5)).square().sum() for layer in layers).backward()
        optimizer.step()
        if resumed:
            state = optimizer.state_dict()
            optimizer = kind(groups, lr=0.5, fused=True, **options)
            optimizer.load_state_dict(state)
    return [value for layer in layers for value in layer.parameters()]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(("ours", "theirs", "options"), KINDS)
def test_same_bits(
    ours: type[optim.Optimizer], theirs: type[optim.Optimizer], options: dict[str, float], resumed: bool
) -> None:
    for one, other in zip(steps(ours, options, resumed=resumed), steps(theirs, options, resumed=False), strict=True):
        assert torch.equal(one, other)


def test_the_compiler_is_not_loaded() -> None:
    code = """
import sys, torch
from autolabel.training.eager import SGD, AdamW
for kind in (SGD, AdamW):
    weight = torch.ones(3, requires_grad=True)
    optimizer = kind([{"params": [weight]}], lr=0.1, fused=True)
    weight.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
    assert (weight < 1).all()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
