"""The state of a training as bytes, from which a resumed run continues bit for bit."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch

from autolabel.errors import CorruptArtefact
from autolabel.training.trainer import Trainer

_FORMAT = 2


def training_state(trainer: Trainer) -> dict[str, Any]:
    """All state that a step changes, by name."""
    return {
        "step": trainer.step,  # also the position in the data and in the schedule, and the seed of dropout
        "num_skipped": trainer.num_skipped,
        "history": trainer.history,
        "curve": trainer.curve.state_dict(),
        "best": trainer.best,
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "ema": trainer.ema.state_dict() if trainer.ema is not None else None,
    }


def checkpoint_to_bytes(trainer: Trainer) -> bytes:
    buffer = io.BytesIO()
    torch.save({"run": _run_of(trainer), **training_state(trainer)}, buffer)
    return buffer.getvalue()


def restore_checkpoint(trainer: Trainer, data: bytes) -> None:
    """Put `trainer`, built from the same settings, into the state `data` holds.

    CorruptArtefact: the bytes are not a checkpoint, or belong to another training.
    """
    state = _load(data)
    if state.get("run") != _run_of(trainer):
        raise CorruptArtefact("checkpoint", "it belongs to another training", "remove it to start over")
    trainer.step, trainer.num_skipped = state["step"], state["num_skipped"]
    trainer.history, trainer.best = state["history"], state["best"]
    if "curve" in state:  # a checkpoint of an earlier version has none
        trainer.curve.load_state_dict(state["curve"])
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    if trainer.ema is not None:
        trainer.ema.load_state_dict(state["ema"])


def _run_of(trainer: Trainer) -> dict[str, int]:
    """The facts that a checkpoint and the run that resumes from it must share."""
    return {"format": _FORMAT, "seed": trainer.seed, "total_steps": trainer.total_steps}


def _load(data: bytes) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return state
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptArtefact("checkpoint", f"cannot be read ({reason})", "remove it to start over") from None
