"""Memory that the losses allocate and save, the type and layout of their gradients, and determinism."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autolabel.losses import bce_loss, cross_entropy, rmi_loss
from tests.losses.plain_losses import example, one_hot, plain_total

Loss = Callable[..., torch.Tensor]
LOSSES: list[Loss] = [cross_entropy, bce_loss, rmi_loss]


class Allocations(TorchDispatchMode):
    """Bytes of every storage that operations return, by address, except that of `known`."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known = known.untyped_storage().data_ptr()
        self.bytes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() != self.known:
                storage = leaf.untyped_storage()
                self.bytes[storage.data_ptr()] = max(storage.nbytes(), self.bytes.get(storage.data_ptr(), 0))
        return result


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_but_the_gradient_has_full_size(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tiling", "rmi_statistics"):
        monkeypatch.setattr(f"autolabel.losses.{module}.CPU_BYTES", 1)
    logits, labels = example(64, 128, classes=10)
    logits = logits.detach().float().requires_grad_()
    full = 4 * logits.numel()  # the labels take a fifth of it
    with Allocations(logits) as forward:
        value = loss(logits, labels)
    assert max(forward.bytes.values()) < full / 3
    with Allocations(logits) as backward:
        torch.autograd.grad(value, logits)
    assert [size for size in backward.bytes.values() if size > full / 3] == [full]


@pytest.mark.parametrize("loss", LOSSES)
def test_logits_are_kept_as_they_are_and_nothing_else_is_large(loss: Loss) -> None:
    logits, labels = example(64, 128, classes=10)
    logits = logits.detach().to(torch.bfloat16).requires_grad_()
    kept: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss(logits, labels)
    for known in (logits, labels):
        assert kept.pop(known.untyped_storage().data_ptr())
    assert sum(kept.values()) < logits.untyped_storage().nbytes()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_have_the_type_and_layout_of_the_logits(loss: Loss) -> None:
    logits, labels = example(20, 26)
    (expected,) = torch.autograd.grad(loss(logits, labels), logits)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)):
        for layout in (torch.contiguous_format, torch.channels_last):
            inputs = logits.detach().to(dtype, memory_format=layout).requires_grad_()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = loss(inputs, labels)
            (gradient,) = torch.autograd.grad(value, inputs)
            assert gradient.dtype == dtype
            assert gradient.is_contiguous(memory_format=layout)
            error = (gradient - expected).abs().max() / expected.abs().max()
            assert error < tolerance * (1 if dtype == torch.float32 else 10), (dtype, error)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_bits_every_time(loss: Loss) -> None:
    logits, labels = example(40, 56)
    first, *others = (torch.autograd.grad(loss(logits, labels), logits)[0] for _ in range(3))
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("sharpness", [0.5, 4.0, 18.0])
def test_float32_logits_lose_nothing_near_the_label(sharpness: float) -> None:
    """Probabilities rounded to float32 would, because p and y differ by less than the rounding."""
    noise, labels = example(48, 64, classes=5)
    valid_as_zero = torch.where(labels == 255, 0, labels)
    logits = (sharpness * (2 * one_hot(valid_as_zero, 5) - 1) + 0.1 * noise.detach()).float()
    wide = logits.double().requires_grad_()
    (expected,) = torch.autograd.grad(plain_total(wide, labels), wide)
    (got,) = torch.autograd.grad(rmi_loss(logits.requires_grad_(), labels), logits)
    assert (got - expected).abs().max() < 2e-7 * expected.abs().max()
