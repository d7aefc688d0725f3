"""The work of each of two ranks, for test_ranks.py: `torchrun ... ranks_at_work.py FOLDER`.

Everything is in one program, for starting one is what takes time. Each rank leaves a JSON file of what it found.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autolabel.config.networks import ModelConfig
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup, init
from autolabel.losses import training_loss
from autolabel.models import build_model
from autolabel.models.layers import MEAN, STD
from autolabel.signals import StopFlag, Stopped
from autolabel.training import TrainingData
from autolabel.training.trainer import Trainer
from tests.training.tiny_training import NAMES, ArrayPairs, digest, network, settings, train

# As the promise has it: the same global batch, norms frozen, no dropout.
EXACT = settings(
    crop=(32, 32),
    batch=4,
    epochs=20,
    epoch_images=10,
    loss="rmi",
    lr=0.02,
    freeze_norms=True,
    validate_every=4,
)
STEPS = 50
MODEL = ModelConfig(trunk="resnet_tiny", head_channels=16, key_channels=8, attention_channels=8, dropout=0.0)
DATA = TrainingData(ArrayPairs(5, (48, 64)), ArrayPairs(3, (48, 64), seed=9), NAMES, epoch_images=10)


def exact_run(
    precision: str,
    *,
    world: ProcessGroup = SINGLE_PROCESS,
    resume: bytes | None = None,
    saved: list[bytes] | None = None,
) -> dict[str, Any]:
    """Loss per step and validations of a real network."""
    torch.manual_seed(3)
    model, rows = build_model(MODEL, len(NAMES)), []
    table = EXACT.model_copy(update={"precision": precision})
    if precision == "fp32":
        table = table.model_copy(update={"epochs": 2})  # 5 steps
    result = train(model, table=table, data=DATA, micro_batch=1, world=world, resume=resume, saved=saved, rows=rows)
    losses = {row["step"]: row["loss"] for row in rows if row["kind"] == "step"}
    return {"losses": losses, "history": result.history, "digest": digest(model)}


def usual_run(world: ProcessGroup) -> dict[str, Any]:
    """Norms and dropout are active: the result needs all ranks, and all must agree."""
    model, saved = network(), []
    history = train(model, world=world, saved=saved).history
    return {"digest": digest(model), "history": history, "num_saved": len(saved)}


def dropout_of(world: ProcessGroup) -> list[float]:
    """The features that the first step drops."""
    model = network(dropout=0.5)
    seen: list[float] = []
    model.drop.register_forward_hook(lambda module, inputs, output: seen.extend((output == 0).float().flatten()[:64]))
    _trainer(model, world).train_step(*_batch())
    return [float(value) for value in seen]


def bad_step(world: ProcessGroup) -> dict[str, Any]:
    """The loss of rank 1 alone is not a number."""

    def loss(output: Any, labels: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return training_loss(output, labels, loss="ce", **kwargs) * (torch.nan if world.rank == 1 else 1)

    model = network()
    before = digest(model)
    row = _trainer(model, world, loss=loss).train_step(*_batch())
    return {"skipped": row["skipped"], "loss": row["loss"], "untouched": digest(model) == before}


class StoppedAtThird(StopFlag):
    """One rank alone receives a stop request, during its third step."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.left = 3 if rank == 1 else 1000

    def __call__(self) -> bool:
        self.left -= 1
        self.signum = signal.SIGTERM if self.left <= 0 else None
        return super().__call__()


def stopped_run(world: ProcessGroup) -> dict[str, Any]:
    saved: list[bytes] = []
    try:
        train(network(), table=settings(validate_every=0), world=world, stop=StoppedAtThird(world.rank), saved=saved)
    except Stopped as stopped:
        return {"signum": stopped.signum, "num_saved": len(saved)}
    return {}


def _trainer(model: nn.Module, world: ProcessGroup, loss: Any = training_loss) -> Trainer:
    return Trainer(model, loss, settings(loss="ce"), 7, 9, torch.device("cpu"), MEAN, STD, len(NAMES), world=world)


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    pairs = ArrayPairs(2, (24, 32))
    return torch.from_numpy(np.stack(pairs.images)), torch.from_numpy(np.stack(pairs.labels))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with init(StopFlag()) as world:
        saved: list[bytes] = []
        found = {
            "fp64": exact_run("fp64", world=world, saved=saved),
            "fp32": exact_run("fp32", world=world),
            "resumed": exact_run("fp64", world=world, resume=(folder / "one-rank.pt").read_bytes()),
            "usual": usual_run(world),
            "dropped": dropout_of(world),
            "bad": bad_step(world),
            "stopped": stopped_run(world),
            "none": world.broadcast_bytes(None) is None,
            "bytes": world.broadcast_bytes(b"\0state" if world.is_rank0 else None) == b"\0state",
        }
        if world.is_rank0:
            (folder / "two-ranks.pt").write_bytes(saved[39])
        (folder / f"{world.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # like the command: threads of torch.distributed may abort an interpreter that ends
