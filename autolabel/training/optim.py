"""Optimizer, learning rate, precision, weight averaging and batch-norm settings of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn, optim

from autolabel.config.networks import TrainConfig
from autolabel.distributed import ProcessGroup
from autolabel.errors import SettingError
from autolabel.training.eager import SGD, AdamW
from autolabel.training.freeze import batch_norms, trunk_of


def parameter_groups(model: nn.Module, settings: TrainConfig) -> list[dict[str, Any]]:
    """Groups of trained parameters, each with its weight decay and the factor of its learning rate.

    The weights of layers decay; vectors (biases, norms) decay with `decay_norms`. A trunk with a learning rate of its
    own has two more groups. Each group is in the order of the model.
    """
    in_trunk = {id(p) for p in trunk_of(model).parameters()} if settings.trunk_lr != 1 else set()
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        _group([p for p in trained if id(p) not in in_trunk], settings, 1.0),
        _group([p for p in trained if id(p) in in_trunk], settings, settings.trunk_lr),
    ]
    return [group for pair in groups for group in pair if group["params"]]


def _group(params: list[nn.Parameter], settings: TrainConfig, lr_factor: float) -> list[dict[str, Any]]:
    vector_decay = settings.weight_decay if settings.decay_norms else 0.0
    return [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": settings.weight_decay, "lr_factor": lr_factor},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": vector_decay, "lr_factor": lr_factor},
    ]


def _sgd(groups: list[dict[str, Any]], settings: TrainConfig) -> optim.Optimizer:
    return SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)


def _adamw(groups: list[dict[str, Any]], settings: TrainConfig) -> optim.Optimizer:
    return AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999), fused=True)


_OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}


def build_optimizer(model: nn.Module, settings: TrainConfig) -> optim.Optimizer:
    """SGD with momentum, or AdamW with `momentum` as its first beta."""
    groups = parameter_groups(model, settings)
    return _OPTIMIZERS[settings.optimizer](groups, settings)


def lr_at(step: int, *, base: float, total: int, power: float, warmup: float) -> float:
    """Poly decay base * (1 - t)^power over the steps after a linear warm-up of `warmup` x `total` steps.

    `step` counts from 0; the warm-up's last step and the first one after it use `base`.
    """
    num_warmup = round(warmup * total)
    if step < num_warmup:
        return base * (step + 1) / num_warmup
    return base * float((1 - (step - num_warmup) / (total - num_warmup)) ** power)


_LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}


def weight_type(precision: str) -> torch.dtype:
    """Type of the weights, optimizer state, losses and inputs."""
    return torch.float64 if precision == "fp64" else torch.float32


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context that runs matrix products in half precision if `precision` says so; all else stays in `weight_type`."""
    return torch.autocast(device.type, dtype=_LOWER.get(precision), enabled=precision in _LOWER)


def loss_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """A scaler that acts for fp16 only: its gradients underflow without scaling."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def check_precision(device: torch.device, precision: str) -> None:
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SettingError("precision", f"{torch.cuda.get_device_name(device)} has no bf16", "use fp16 or fp32")


class Ema:
    """average <- d * average + (1 - d) * model with d = min(decay, (1 + t) / (10 + t)) after t updates.

    The rising d forgets the random initial weights (TensorFlow's `num_updates`). Integer buffers are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = model.state_dict()
        floats = [name for name, value in self.average.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in floats], [now[n] for n in floats], 1 - decay)
        for name in self.average.keys() - floats:
            self.average[name].copy_(now[name])
        self.updates += 1

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """The model has the averaged weights within this context."""
        kept = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(kept)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for name, value in self.average.items():
            value.copy_(state["average"][name])


def prepare_norms(model: nn.Module, settings: TrainConfig, *, device: torch.device, world: ProcessGroup) -> None:
    """Fix the statistics of the batch norms of a model in training mode, or synchronise them, as the settings say.

    Fixed norms go to eval mode and use their running statistics. On several GPUs the others become torch's
    SyncBatchNorm (same parameters, same names), which needs a GPU.
    """
    if settings.freeze_norms:
        for norm in batch_norms(model):
            norm.eval()
    elif settings.sync_norms and device.type == "cuda" and world.size > 1:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)


def statistics_differ(model: nn.Module, world: ProcessGroup) -> bool:
    """Whether each rank computes batch-norm statistics from its own images only."""
    own = any(norm.training and not isinstance(norm, nn.SyncBatchNorm) for norm in batch_norms(model))
    return own and world.size > 1
