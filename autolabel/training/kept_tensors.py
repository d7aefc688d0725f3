"""Copies of tensors to go back to."""

from __future__ import annotations

from collections.abc import Iterable

import torch


class KeptTensors:
    """Keeps the values of `tensors`, which stay the same objects, and restores them.

    Tensors of one type and device are copied together. On a GPU that is one launch, where each of the hundreds of
    buffers of a network would otherwise take one; their memory is allocated once.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        groups: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
        for tensor in tensors:
            groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        self._pairs = [(group, [torch.empty_like(tensor) for tensor in group]) for group in groups.values()]

    @torch.no_grad()
    def keep(self) -> None:
        for tensors, copies in self._pairs:
            torch._foreach_copy_(copies, tensors)

    @torch.no_grad()
    def restore(self) -> None:
        for tensors, copies in self._pairs:
            torch._foreach_copy_(tensors, copies)
