"""Networks without memory for their weights: shapes, keys and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

# A function of `init` is the call that the mode sees if it hands itself over; the others reach the tensor's method.
_DRAWS = frozenset({init.normal_, init.uniform_, init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_})


class _NoDraws(TorchFunctionMode):
    """Skips random initial values. Drawing them on the meta device imports torch's compiler: two CPU seconds."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


@contextmanager
def on_meta() -> Iterator[None]:
    """New modules are on the meta device, where tensors have a shape and no values."""
    with torch.device("meta"), _NoDraws():
        yield
