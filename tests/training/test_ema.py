from __future__ import annotations

import numpy as np
import torch

from autolabel.training.optim import Ema
from tests.training.tiny_training import digest, network


def test_against_a_float64_loop() -> None:
    model = network()
    ema = Ema(model, 0.7)
    expected = {name: value.numpy().astype(np.float64) for name, value in model.state_dict().items()}
    for t in range(30):
        with torch.no_grad():
            for value in (*model.parameters(), model.norm.running_mean):
                value.add_(torch.randn_like(value))
            model.norm.num_batches_tracked += 1
        ema.update(model)
        decay = min(0.7, (1 + t) / (10 + t))
        for name, value in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.numpy()
    for name, value in ema.average.items():
        if value.is_floating_point():
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=2e-5, atol=2e-6)
    assert ema.average["norm.num_batches_tracked"] == 30


def test_swapping_in_lends_the_average_and_gives_the_weights_back() -> None:
    model = network()
    ema = Ema(model, 0.5)
    averaged = digest(model)
    with torch.no_grad():
        model.conv.weight.mul_(2)
        model.norm.running_var.mul_(3)
    trained = digest(model)
    with ema.swapped_in(model):
        assert digest(model) == averaged
    assert digest(model) == trained
