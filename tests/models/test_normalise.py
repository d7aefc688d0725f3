from __future__ import annotations

import numpy as np
import pytest
import torch

from autolabel.models import normalise
from autolabel.models.layers import MEAN, STD


@pytest.mark.parametrize("planar", [False, True])
def test_against_float64(planar: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    expected = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    inputs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy() if planar else images)
    got = normalise(inputs)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_other_statistics() -> None:
    got = normalise(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8), mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
    np.testing.assert_allclose(got[0, :, 0, 0], [2.0, 1.0, 0.5], rtol=1e-6)
