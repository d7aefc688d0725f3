from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from autolabel.errors import AutolabelError, TrainingDiverged
from autolabel.losses import LossNormalizer, training_loss
from autolabel.models import TrainOutput
from autolabel.models.layers import MEAN, STD
from autolabel.training.checkpoint import training_state
from autolabel.training.optim import parameter_groups
from autolabel.training.trainer import Loss, Trainer
from tests.training.tiny_training import NAMES, digest, network, settings

cross_entropy = partial(training_loss, loss="ce")


def trainer(
    model: nn.Module, *, loss: Loss = cross_entropy, micro_batch: int = 0, compile: bool = False, **changes: Any
) -> Trainer:
    table, cpu = settings(**changes), torch.device("cpu")
    return Trainer(model, loss, table, 3, 20, cpu, MEAN, STD, len(NAMES), micro_batch=micro_batch, compile=compile)


def batch(count: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 16, 16, 3), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, len(NAMES), (count, 16, 16), generator=generator, dtype=torch.uint8)


def everything(of: Trainer) -> dict[str, Any]:
    return copy.deepcopy(
        {name: value for name, value in training_state(of).items() if name not in ("step", "num_skipped")}
    )


def same(a: object, b: object) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b


class NanAt:
    """A loss that is not finite at some of its calls."""

    def __init__(self, *calls: int, poison: Callable[[torch.Tensor], torch.Tensor] = lambda x: x * math.nan) -> None:
        self.calls, self.poison, self.count = calls, poison, -1

    def __call__(
        self, output: TrainOutput, labels: torch.Tensor, *, counts: LossNormalizer, weights: None
    ) -> torch.Tensor:
        self.count += 1
        value = cross_entropy(output, labels, counts=counts)
        return self.poison(value) if self.count in self.calls else value


class _NanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad * math.nan


@pytest.mark.parametrize(
    "poison", [lambda x: x * math.nan, lambda x: x + math.inf, _NanGradient.apply], ids=["nan", "inf", "gradient"]
)
def test_a_step_that_is_not_finite_leaves_no_trace(poison: Callable[[torch.Tensor], torch.Tensor]) -> None:
    training = trainer(network(), loss=NanAt(2, poison=poison), warmup=0.0, poly_power=0.0)  # lr stays
    for seed in range(2):
        training.train_step(*batch(seed=seed))
    before = everything(training)
    row = training.train_step(*batch(seed=2))
    assert row["skipped"]
    assert training.step == 3
    assert same(everything(training), before)
    assert not training.train_step(*batch(seed=3))["skipped"]
    assert not same(everything(training), before)


def test_the_comparison_above_sees_a_difference() -> None:
    a, b = everything(trainer(network())), everything(trainer(network()))
    assert same(a, b)
    b["model"]["norm.running_mean"][0] += 1
    assert not same(a, b)


def test_a_row_of_bad_steps_ends_the_training_and_a_good_one_forgives() -> None:
    training = trainer(network(), loss=NanAt(0, 1, 3, 4, 5), max_nan=3)
    for seed in range(5):
        training.train_step(*batch(seed=seed))
    with pytest.raises(TrainingDiverged, match="3 times in a row"):
        training.train_step(*batch(seed=5))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_accumulation_equals_the_full_batch(micro_batch: int, optimizer: str) -> None:
    whole, split = (network(norm=False, dropout=0.0) for _ in range(2))
    a = trainer(whole, optimizer=optimizer, precision="fp64")
    b = trainer(split, optimizer=optimizer, precision="fp64", micro_batch=micro_batch)
    for seed in range(3):
        images, labels = batch(seed=seed)
        labels[seed, 2:] = 255  # the parts hold different numbers of valid pixels
        row_a, row_b = a.train_step(images, labels), b.train_step(images, labels)
        assert row_a["loss"] == pytest.approx(row_b["loss"], rel=1e-12)
    for p, q in zip(whole.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_pixels_count_as_their_weights_say(micro_batch: int) -> None:
    """Confidences of 0 and 255 equal ignoring, for any split of the batch."""
    a, b = (trainer(network(norm=False, dropout=0.0), precision="fp64", micro_batch=m) for m in (0, micro_batch))
    images, labels = batch()
    weights = torch.where(torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.3, 0, 255)
    row_a = a.train_step(images, torch.where(weights == 0, 255, labels).to(torch.uint8))
    row_b = b.train_step(images, labels, weights.to(torch.uint8))
    assert row_a["loss"] == pytest.approx(row_b["loss"], rel=1e-12)
    for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


class ReadNumbers(TorchDispatchMode):
    """Counts the operations that hand a value to the host; on a GPU each waits for all work before it."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waits = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        self.count += func in waits
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw"}, {"clip_grad": 1.0}, {"class_weights": (1.0, 0.4)}])
def test_a_step_hands_loss_and_norm_to_the_host_and_nothing_else(changes: dict[str, Any]) -> None:
    """Both are copied together, so that the host waits once; the third number is of labels that the host holds."""
    trained = trainer(network(), **changes)
    trained.frequencies = torch.full((len(NAMES),), 1 / len(NAMES))
    trained.train_step(*batch())  # what a first step allocates
    with ReadNumbers() as read:
        trained.train_step(*batch(seed=1))
    assert read.count == 3


def test_sgd_step_against_the_closed_form() -> None:
    model = network(norm=False, dropout=0.0)
    start = model.conv.weight.detach().double()
    twin = copy.deepcopy(model).double()
    training = trainer(model, warmup=0.0, poly_power=1.0, weight_decay=0.01, momentum=0.5, precision="fp64")
    seen = []
    cross_entropy_ = training.loss
    training.loss = lambda output, labels, counts, weights: (seen.append(labels), cross_entropy_(output, labels))[1]
    images, labels = batch()
    training.train_step(images, labels)
    inputs = (images.permute(0, 3, 1, 2).double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(
        3, 1, 1
    )
    nn.functional.cross_entropy(twin(inputs).fused, labels.long()).backward()
    expected = start - 0.05 * (twin.conv.weight.grad + 0.01 * start)
    torch.testing.assert_close(model.conv.weight, expected, rtol=1e-5, atol=1e-8)
    assert seen[0].dtype == torch.int64


def test_vectors_do_not_decay() -> None:
    model = network()
    decayed, plain = parameter_groups(model, settings(weight_decay=0.1))
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(model.conv.weight), id(model.classify.weight)}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_vectors_decay_where_asked_for() -> None:
    model = network()
    decayed, vectors = parameter_groups(model, settings(weight_decay=0.1, decay_norms=True))
    assert (decayed["weight_decay"], vectors["weight_decay"]) == (0.1, 0.1)
    plain = [[id(p) for p in group["params"]] for group in parameter_groups(model, settings(weight_decay=0.1))]
    assert [[id(p) for p in group["params"]] for group in (decayed, vectors)] == plain
    # The shift of the norm gets no gradient through a loss of zero, so only decay moves it.
    moved = trainer(model, warmup=0.0, weight_decay=0.5, decay_norms=True)
    with torch.no_grad():
        model.norm.bias.fill_(1.0)
    moved.loss = lambda output, labels, counts, weights: output.fused.sum() * 0
    moved.train_step(*batch())
    torch.testing.assert_close(model.norm.bias, torch.full((8,), 1 - 0.05 * 0.5))


def test_dropout_depends_on_seed_and_step_not_on_what_was_drawn_before() -> None:
    a, b = network(), network()
    first, second = trainer(a), trainer(b)
    for seed in range(2):
        first.train_step(*batch(seed=seed))
        torch.rand(17)
        second.train_step(*batch(seed=seed))
    assert digest(a) == digest(b)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_follows_float32(precision: str) -> None:
    losses = {}
    for name in ("fp32", precision):
        training = trainer(network(dropout=0.0), precision=name)
        losses[name] = [training.train_step(*batch(seed=0))["loss"] for _ in range(8)]
        assert all(p.dtype == torch.float32 for p in training.model.parameters())
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses[precision] != losses["fp32"]


def test_fp16_scales_the_loss_down_after_an_overflow() -> None:
    training = trainer(network(gain=300.0), precision="fp16", max_nan=20)
    rows = [training.train_step(*batch(seed=0)) for _ in range(12)]
    assert rows[0]["skipped"]
    assert not rows[-1]["skipped"]
    assert training.scaler.get_scale() < 65536


@pytest.mark.parametrize(
    ("micro_batch", "remedy"), [(0, "micro_batch below 4"), (2, "micro_batch below 2"), (1, "smaller crop")]
)
def test_running_out_of_memory_says_what_helps(micro_batch: int, remedy: str) -> None:
    def too_large(output: TrainOutput, labels: torch.Tensor, *, counts: LossNormalizer, weights: None) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(AutolabelError, match=remedy):
        trainer(network(), loss=too_large, micro_batch=micro_batch).train_step(*batch())


def test_compile_is_what_torch_does_with_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling for real takes longer than all other tests of training."""
    compiled: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    a, b = network(), network()
    trainer(a, compile=True).train_step(*batch())
    trainer(b).train_step(*batch())
    assert compiled == [a]
    assert digest(a) == digest(b)
