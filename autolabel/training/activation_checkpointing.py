"""Activation checkpointing: a block keeps its inputs only, and runs again when the backward pass comes to it
(Chen et al., arXiv 1604.06174). Memory for time; gradients and statistics stay the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from autolabel.errors import SettingError
from autolabel.models import HuggingFaceModel
from autolabel.models.heads.head import Head
from autolabel.models.trunks import Trunk


def checkpoint_activations(model: nn.Module) -> None:
    """Have trunks' blocks and heads in `model` do so from now on, in place; names of weights stay the same.

    ConfigError: a network of another library without layers that are made for it.
    """
    blocks = _blocks(model)
    if not blocks:
        what = "this network has no layers that could run again"
        raise SettingError("activation_checkpointing", what, "leave it out, and lower micro_batch")
    for block in blocks:
        block.forward = partial(_run, block.forward, partial(_contexts, block))


def _blocks(model: nn.Module) -> list[nn.Module]:
    parts = [module for module in model.modules() if isinstance(module, Trunk | HuggingFaceModel)]
    heads = [module for module in model.modules() if isinstance(module, Head)]
    return [block for part in parts for block in part.checkpoint_blocks()] + heads


def _run(forward: Callable[..., Any], contexts: Callable[[], Any], *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """The second run sees the same batch: its batch norms must not count it twice."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    buffers = [buffer for norm in norms for buffer in norm.buffers()]
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        if buffers:
            torch._foreach_copy_(buffers, kept)
