"""The fused decision on CUDA: one Triton kernel from all scales' maps to codes, nothing in between.

A program takes a block of output pixels of one image and all classes. It samples every scale by the fusion's terms
(`Fusion.terms`), fuses, takes the winner and sum exp(l - max), counts the edges exceeded and writes the codes. Weights
come from the same float64 tables as on the CPU, so the codes are those of the CPU but within 1e-6 of a tie or of an
edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from autolabel.inference.decision import empty_codes
from autolabel.labels.codebook import Codebook
from autolabel.models.fusion import Term
from autolabel.models.resample import ResampleWeights

_VALUES = 2048  # pixels times classes a program
_FIELDS = 26  # of a term in the table: see `_Tables.add`


def encode_terms(views: Sequence[Sequence[Term]], book: Codebook) -> Tensor:
    """Codes (B, H, W) of the mean over the views, each a list of terms, highest scale first."""
    first = views[0][0]
    batch, num_classes = first.logits.shape[:2]
    assert num_classes == book.num_classes, f"{num_classes} maps, codes of {book.num_classes} classes"
    assert len({len(view) for view in views}) == 1, [len(view) for view in views]
    height, width = (len(axis) for axis in first.own)
    tables = _Tables(first.logits.device)
    for term in (term for view in views for term in view):
        tables.add(term)
    codes = empty_codes((batch, height, width), book, first.logits.device)
    classes = triton.next_power_of_2(num_classes)
    block = max(1, _VALUES // classes)
    _encode_kernel[(triton.cdiv(height * width, block), batch)](
        *tables.tensors(),
        torch.from_numpy(book.limits).to(codes.device),
        codes,
        width,
        height * width,
        len(views),
        len(views[0]),
        num_classes,
        book.bins,
        len(book.edges),
        book.invalid,
        book.seconds,
        book.bins_with_second,
        BLOCK=block,
        CLASSES=classes,
        FIELDS=_FIELDS,
        enable_fp_fusion=True,
    )
    return codes


class _Tables:
    """All terms in five flat tensors: the kernel finds its way by the integers of `terms`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._logits: list[Tensor] = []
        self._attention: list[Tensor] = []
        self._firsts: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._terms: list[int] = []
        self._constants: list[float] = []

    def add(self, term: Term) -> None:
        """FIELDS integers: (start, pixels an image, columns) of logits and of attention, has attention, adds, and
        (start of firsts, start of weights, width) of six axes."""
        fields = [_size(self._logits), *_image_shape(term.logits)]
        self._logits.append(term.logits.permute(0, 2, 3, 1).reshape(-1))
        fields += [_size(self._attention), *_image_shape(term.logits if term.attention is None else term.attention)]
        if term.attention is not None:
            self._attention.append(term.attention.reshape(-1))
        fields += [term.attention is not None, term.adds]
        for axis in (*term.own, *term.of_logits, *term.of_attention):
            fields += self._axis(axis)
        assert len(fields) == _FIELDS, len(fields)
        self._terms += fields
        self._constants.append(term.weight)

    def tensors(self) -> list[Tensor]:
        """logits, attention, firsts, weights, terms, constants"""
        attention = self._attention or [self._logits[0][:1]]
        host = [
            torch.cat(self._firsts),
            torch.cat(self._weights),
            torch.tensor(self._terms, dtype=torch.int32),
            torch.tensor(self._constants),
        ]
        maps = [torch.cat(parts).to(torch.float32) for parts in (self._logits, attention)]
        return maps + [tensor.to(self._device, non_blocking=True) for tensor in host]

    def _axis(self, axis: ResampleWeights) -> list[int]:
        fields = [_size(self._firsts), _size(self._weights), axis.width]
        self._firsts.append(torch.from_numpy(axis.first).to(torch.int32))
        self._weights.append(torch.from_numpy(axis.weights).to(torch.float32).reshape(-1))
        return fields


def _size(parts: Sequence[Tensor]) -> int:
    return sum(part.numel() for part in parts)


def _image_shape(maps: Tensor) -> tuple[int, int]:
    """Pixels an image, columns."""
    return maps.shape[-2] * maps.shape[-1], maps.shape[-1]


# Triton compiles what follows and reads annotations as its own types, so there are none.


@triton.jit
def _source(firsts, weights, axis, position, number):  # type: ignore[no-untyped-def]  # typed by Triton
    """Number `number` of the source positions of a target, and its weight."""
    first = tl.load(firsts + tl.load(axis) + position)
    weight = tl.load(weights + tl.load(axis + 1) + position * tl.load(axis + 2) + number)
    return first + number, weight


@triton.jit
def _attention_at(attention, firsts, weights, term, image, y, x):  # type: ignore[no-untyped-def]  # typed by Triton
    """Attention at positions y, x (BLOCK,)."""
    start = tl.load(term + 3) + image * tl.load(term + 4)
    columns = tl.load(term + 5)
    result = tl.zeros(y.shape, tl.float32)
    for i in range(tl.load(term + 22)):
        row, down = _source(firsts, weights, term + 20, y, i)
        for j in range(tl.load(term + 25)):
            column, across = _source(firsts, weights, term + 23, x, j)
            result += down * across * tl.load(attention + start + row * columns + column)
    return result


@triton.jit
def _logits_at(logits, firsts, weights, term, image, y, x, k, num_classes):  # type: ignore[no-untyped-def]  # typed by Triton
    """Logits at positions y, x: (BLOCK, CLASSES), zero beyond the classes there are."""
    start = tl.load(term) + image * tl.load(term + 1) * num_classes
    columns = tl.load(term + 2)
    result = tl.zeros((y.shape[0], k.shape[0]), tl.float32)
    for i in range(tl.load(term + 16)):
        row, down = _source(firsts, weights, term + 14, y, i)
        for j in range(tl.load(term + 19)):
            column, across = _source(firsts, weights, term + 17, x, j)
            places = start + ((row * columns + column) * num_classes)[:, None] + k[None, :]
            weight = down * across
            # A weight of 0 times an infinite logit would be NaN.
            read = (k < num_classes)[None, :] & (weight != 0.0)[:, None]
            result += weight[:, None] * tl.load(logits + places, mask=read, other=0.0)
    return result


@triton.jit
def _encode_kernel(  # type: ignore[no-untyped-def]  # typed by Triton
    logits,
    attention,
    firsts,
    weights,
    terms,
    constants,
    limits,
    codes,
    width,
    pixels,
    num_views,
    num_terms,
    num_classes,
    bins,
    num_limits,
    invalid,
    seconds,
    bins_with_second,
    BLOCK: tl.constexpr,
    CLASSES: tl.constexpr,
    FIELDS: tl.constexpr,
):
    image = tl.program_id(1)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    y, x = tl.where(inside, pixel // width, 0), tl.where(inside, pixel % width, 0)
    k = tl.arange(0, CLASSES)
    known = (k < num_classes)[None, :]

    total = tl.zeros((BLOCK, CLASSES), tl.float32)
    for view in range(num_views):
        fused = tl.zeros((BLOCK, CLASSES), tl.float32)
        for number in range(view * num_terms, (view + 1) * num_terms):
            term = terms + number * FIELDS
            added = tl.zeros((BLOCK, CLASSES), tl.float32)
            share = tl.zeros((BLOCK,), tl.float32)
            for i in range(tl.load(term + 10)):
                own_y, down = _source(firsts, weights, term + 8, y, i)
                for j in range(tl.load(term + 13)):
                    own_x, across = _source(firsts, weights, term + 11, x, j)
                    weight = down * across * tl.load(constants + number)
                    if tl.load(term + 6) == 1:
                        weight = weight * _attention_at(attention, firsts, weights, term, image, own_y, own_x)
                    values = _logits_at(logits, firsts, weights, term, image, own_y, own_x, k, num_classes)
                    added += weight[:, None] * values
                    share += weight
            keep = tl.where(tl.load(term + 7) == 1, 1.0, 1.0 - share)
            fused = added + keep[:, None] * fused
        total += fused
    total = total / num_views

    broken = tl.sum(tl.where(known & ~(tl.abs(total) < float("inf")), 1, 0), axis=1) > 0  # NaN too
    highest = tl.max(tl.where(known, total, -float("inf")), axis=1)
    winner = tl.min(tl.where(known & (total == highest[:, None]), k[None, :], CLASSES), axis=1)
    odds = tl.sum(tl.where(known, tl.exp(total - highest[:, None]), 0.0), axis=1)
    exceeded = tl.zeros((BLOCK,), tl.int32)
    for i in range(num_limits):
        exceeded += tl.where(odds < tl.load(limits + i), 1, 0)
    code = winner * bins + exceeded
    if bins_with_second > 0:
        others = tl.where(known & (k[None, :] != winner[:, None]), total, -float("inf"))
        next_highest = tl.max(others, axis=1)
        second = tl.min(tl.where(others == next_highest[:, None], k[None, :], CLASSES), axis=1)
        code = code * seconds + tl.where(exceeded < bins_with_second, second, num_classes)
    code = tl.where(broken, invalid, code)
    tl.store(codes + image * pixels + pixel, code.to(codes.dtype.element_ty), mask=inside)
