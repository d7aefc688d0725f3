"""torch's optimizers, without its compiler.

torch keeps its compiler away from optimizers by decorators that import it, which takes a third of the CPU time before
the first step of a training. No optimizer here is compiled, so these run the decorated methods themselves.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import optim

_add_param_group = inspect.unwrap(optim.Optimizer.add_param_group)
_zero_grad = inspect.unwrap(optim.Optimizer.zero_grad)
_state_dict = inspect.unwrap(optim.Optimizer.state_dict)
_load_state_dict = inspect.unwrap(optim.Optimizer.load_state_dict)


class _Eager(optim.Optimizer):
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        _add_param_group(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        _zero_grad(self, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = _state_dict(self)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _load_state_dict(self, state_dict)


class SGD(_Eager, optim.SGD):
    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # without a closure
        inspect.unwrap(optim.SGD.step)(self)


class AdamW(_Eager, optim.AdamW):
    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # without a closure
        inspect.unwrap(optim.Adam.step)(self)
