"""RMI and BCE losses with their gradients against the published code, by the tolerances of PARITY.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.losses import bce_loss, rmi_loss


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "parity" / "rmi_loss.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def inputs(expected: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """case -> logits (N, 19, H, W) float32, labels (N, H, W)."""
    generator = np.random.Generator(np.random.PCG64(int(expected["logits_seed"])))
    logits = generator.standard_normal(tuple(expected["logits_shape"]), dtype=np.float32)
    labels, blocks = expected["labels"], expected["labels_blocks"]
    n, row, column = np.nonzero(blocks < 19)
    raised = logits.copy()
    raised[n, blocks[n, row, column], row, column] += np.float32(4)
    return {
        "rmi": (logits, labels),
        "bce": (logits, labels),
        "blocks": (raised, blocks),
        "blocks_bce": (raised, blocks),
        "oneclass": (logits, np.zeros_like(labels)),
        "ignored": (logits, np.full_like(labels, 255)),
    }


@pytest.mark.parametrize("case", ["rmi", "bce", "blocks", "blocks_bce", "oneclass", "ignored"])
def test_loss_and_gradient(
    expected: dict[str, np.ndarray], inputs: dict[str, tuple[np.ndarray, np.ndarray]], case: str
) -> None:
    logits, labels = (torch.from_numpy(x) for x in inputs[case])
    logits.requires_grad_()
    loss = (bce_loss if case.endswith("bce") else rmi_loss)(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(float(expected[f"loss64_{case}"]), abs=2e-5)
    gradient = logits.grad.double().numpy()
    largest = np.abs(gradient).max()
    # Mean, standard deviation and sum of absolutes of the full gradient; some cases store no more than these.
    mean, std, absolute = expected[f"stats/grad_{case}"]
    assert gradient.mean() == pytest.approx(mean, abs=1e-5 * largest)
    assert gradient.std() == pytest.approx(std, abs=1e-5 * largest)
    assert np.abs(gradient).sum() == pytest.approx(absolute, rel=1e-5)
    if f"grad_{case}" in expected:
        np.testing.assert_allclose(gradient[..., ::3, ::3], expected[f"grad_{case}"], rtol=0, atol=1e-5 * largest)
