"""Batch norm where a batch is spread over processes, and where its statistics are to stay."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from autolabel.config import Train
from autolabel.world import World


def prepare_norms(model: nn.Module, settings: Train, *, device: torch.device, world: World) -> None:
    """Call on a model in training mode. Frozen norms go to eval mode: they use their running statistics as they are.

    Over several GPUs the others become torch's SyncBatchNorm (same parameters, same names), which wants a GPU.
    """
    if settings.freeze_norms:
        for norm in _norms(model):
            norm.eval()
    elif settings.sync_norms and device.type == "cuda" and world.size > 1:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)


def statistics_differ(model: nn.Module, world: World) -> bool:
    """Whether each rank gathers statistics of its own images only."""
    own = any(norm.training and not isinstance(norm, nn.SyncBatchNorm) for norm in _norms(model))
    return own and world.size > 1


def _norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
