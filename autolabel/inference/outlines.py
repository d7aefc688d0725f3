"""Results of operations on torch's meta device, with shape, type and layout only.

Torch has many of them in Python. These take up to 20 ms each, and the first one imports torch's compiler, which takes
two CPU seconds. For the operations that labelling consists of, this says what comes out in a few microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_ATEN = torch.ops.aten


def outline(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The empty result of an operation of aten on meta tensors; None for operations that torch must answer itself."""
    known = _OUTLINES.get(func)
    if known is None:
        return None
    first = args[0][0] if isinstance(args[0], list | tuple) else args[0]
    if first.device.type != "meta":
        return None
    return known(*args, **kwargs)


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor | None:
    if x.ndim != 4:
        return None
    pairs = ((2 * list(pair))[:2] for pair in (stride, padding, dilation))  # one number counts for both sides
    sides = zip(x.shape[2:], weight.shape[2:], *pairs, strict=True)
    size = [(side + 2 * pad - dilate * (kernel - 1) - 1) // step + 1 for side, kernel, step, pad, dilate in sides]
    return _maps((len(x), len(weight), *size), x, weight)


def _resized(x: Tensor, size: Sequence[int] | None, *_: object, **__: object) -> Tensor | None:
    return None if size is None else _maps((*x.shape[:2], *size), x)


def _maps(size: Sequence[int], *inputs: Tensor) -> Tensor:
    """Channels last where one of the inputs is."""
    channels_last = any(x.stride(1) == 1 and x.stride(3) >= x.shape[1] for x in inputs)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(size, dtype=inputs[0].dtype, device=inputs[0].device, memory_format=layout)


def _matmul(x: Tensor, other: Tensor) -> Tensor | None:
    if min(x.ndim, other.ndim) < 2:
        return None
    batches = {x.shape[:-2], other.shape[:-2]} - {()}
    if len(batches) > 1:  # they are broadcast
        return None
    batch = batches.pop() if batches else ()
    return x.new_empty((*batch, x.shape[-2], other.shape[-1]))


def _alike(x: Tensor) -> Tensor | None:
    """`torch.empty_like` is one of the slow ones."""
    if x.is_contiguous():
        return x.new_empty(x.shape)
    if x.ndim != 4 or not x.is_contiguous(memory_format=torch.channels_last):
        return None
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _elementwise(x: Tensor, other: object, **options: object) -> Tensor | None:
    """A sum or product with a number, or of two alike."""
    if isinstance(other, Tensor):
        alike = (other.shape, other.dtype, other.stride()) == (x.shape, x.dtype, x.stride())
    else:
        alike = isinstance(other, float) and x.is_floating_point()
    return _alike(x) if alike else None


def _mean(
    x: Tensor, dim: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor | None:
    if not dim or not keepdim or dtype is not None:
        return None
    size = list(x.shape)
    for axis in dim:
        size[axis] = 1
    return x.new_empty(size)


def _in_place(x: Tensor, *_: object, **__: object) -> Tensor:
    return x


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if first.ndim != 4 or len({x.dtype for x in tensors}) > 1:
        return None
    size = list(first.shape)
    size[dim] = sum(x.shape[dim] for x in tensors)
    return _maps(size, first)


_OUTLINES: dict[object, Callable[..., Tensor | None]] = {
    _ATEN.conv2d.default: _conv2d,
    _ATEN.upsample_bilinear2d.default: _resized,
    _ATEN.upsample_bilinear2d.vec: _resized,
    _ATEN.matmul.default: _matmul,
    _ATEN.mm.out: lambda *_, out: out,
    _ATEN.add.Tensor: _elementwise,
    _ATEN.mul.Tensor: _elementwise,
    _ATEN.add_.Tensor: _in_place,
    _ATEN.mul_.Tensor: _in_place,
    _ATEN.relu_.default: _in_place,
    _ATEN.sigmoid.default: _alike,
    _ATEN.cat.default: _cat,
    _ATEN.softmax.int: lambda x, dim, dtype=None: x.new_empty(x.shape, dtype=dtype),
    _ATEN.batch_norm.default: lambda x, *_: _alike(x),
    _ATEN.mean.dim: _mean,
}
