"""Optimizers by name."""

from __future__ import annotations

from torch import nn, optim

from autolabel.config import Train


def parameter_groups(model: nn.Module, weight_decay: float, *, decay_norms: bool = False) -> list[dict]:
    """Weights of layers decay; biases and the scales and shifts of norms (all vectors) with `decay_norms` only.

    Two groups in any case, each in the order of the model: the optimizer's state does not depend on the setting.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": weight_decay if decay_norms else 0.0},
    ]


def _sgd(groups: list[dict], settings: Train) -> optim.Optimizer:
    return optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)


def _adamw(groups: list[dict], settings: Train) -> optim.Optimizer:
    return optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999), fused=True)


_OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}


def build_optimizer(model: nn.Module, settings: Train) -> optim.Optimizer:
    """SGD with momentum, or AdamW with `momentum` as its first beta."""
    groups = parameter_groups(model, settings.weight_decay, decay_norms=settings.decay_norms)
    return _OPTIMIZERS[settings.optimizer](groups, settings)
