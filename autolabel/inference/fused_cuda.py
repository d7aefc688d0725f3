"""The fused decision on CUDA: one Triton kernel from the maps of all scales to codes, without intermediate maps.

A program handles a block of output pixels of one image, for all classes. It samples every scale by the fusion's terms
(`Fusion.terms`), fuses them, finds the winner and sum exp(l - max), counts the exceeded edges and writes the codes.
Resample weights come from the same float64 tables as on the CPU, so the codes equal those of the CPU except within 1e-6
of a tie or an edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from autolabel.inference.decision import empty_codes
from autolabel.labels.codebook import Codebook
from autolabel.models.fusion import Term
from autolabel.models.resample import ResampleWeights

_VALUES = 2048  # pixels times classes per program
_FIELDS = 26  # per term in the table: see `_tables`


def encode_terms(views: Sequence[Sequence[Term]], book: Codebook) -> Tensor:
    """Codes (B, H, W) of the mean over the views, each a list of terms, highest scale first."""
    first = views[0][0]
    batch, num_classes = first.logits.shape[:2]
    assert num_classes == book.num_classes, f"{num_classes} maps, codes of {book.num_classes} classes"
    assert len({len(view) for view in views}) == 1, [len(view) for view in views]
    height, width = (len(axis) for axis in first.own)
    terms = [term for view in views for term in view]
    codes = empty_codes((batch, height, width), book, first.logits.device)
    classes = triton.next_power_of_2(num_classes)
    block = max(1, _VALUES // classes)
    _encode_kernel[(triton.cdiv(height * width, block), batch)](
        *_maps(terms),
        *_tables(tuple(map(_geometry, terms)), codes.device),
        _limits(book.limits.tobytes(), codes.device),
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


def _maps(terms: Sequence[Term]) -> list[Tensor]:
    """The logits of all terms, channels last, and their attention: flat, float32."""
    logits = [term.logits.permute(0, 2, 3, 1).reshape(-1) for term in terms]
    attention = [term.attention.reshape(-1) for term in terms if term.attention is not None]
    return [torch.cat(parts).to(torch.float32) for parts in (logits, attention or [logits[0][:1]])]


class _Geometry(NamedTuple):
    """All of a term but the values of its maps."""

    logits: tuple[int, ...]  # shape
    attention: tuple[int, ...] | None  # shape
    weight: float
    adds: bool
    axes: tuple[_Axis, ...]  # own, of logits, of attention: down and across


class _Axis(NamedTuple):
    """`ResampleWeights` as bytes, so that equal ones are equal keys."""

    firsts: bytes  # int32
    weights: bytes  # float32
    width: int


def _geometry(term: Term) -> _Geometry:
    attention = None if term.attention is None else tuple(term.attention.shape)
    axes = (*term.own, *term.of_logits, *term.of_attention)
    return _Geometry(tuple(term.logits.shape), attention, term.weight, term.adds, tuple(map(_axis, axes)))


def _axis(axis: ResampleWeights) -> _Axis:
    return _Axis(axis.first.astype(np.int32).tobytes(), axis.weights.astype(np.float32).tobytes(), axis.width)


@lru_cache(maxsize=16)
def _limits(data: bytes, device: torch.device) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.float32).to(device)


@lru_cache(maxsize=16)
def _tables(terms: tuple[_Geometry, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Firsts, weights, terms and constants on the device; built and copied once per shape.

    A row of `terms` has _FIELDS integers: (start, pixels per image, columns) of logits and of attention, has attention,
    adds, and (start of firsts, start of weights, width) of six axes.
    """
    rows: list[int] = []
    firsts, weights = bytearray(), bytearray()
    logits_start = attention_start = 0
    for term in terms:
        attention = term.attention or term.logits
        rows += [logits_start, *_image_shape(term.logits), attention_start, *_image_shape(attention)]
        rows += [term.attention is not None, term.adds]
        logits_start += math.prod(term.logits)
        attention_start += 0 if term.attention is None else math.prod(term.attention)
        for axis in term.axes:
            rows += [len(firsts) // 4, len(weights) // 4, axis.width]
            firsts += axis.firsts
            weights += axis.weights
    assert len(rows) == len(terms) * _FIELDS, len(rows)
    host = (
        torch.frombuffer(firsts, dtype=torch.int32),
        torch.frombuffer(weights, dtype=torch.float32),
        torch.tensor(rows, dtype=torch.int64),  # starts of large batches exceed 32 bits
        torch.tensor([term.weight for term in terms]),
    )
    return tuple(tensor.to(device) for tensor in host)


def _image_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Pixels per image, columns."""
    return shape[-2] * shape[-1], shape[-1]


# Triton compiles the functions below and reads annotations as its own types, so they have none.


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
            total_weight = tl.zeros((BLOCK,), tl.float32)
            for i in range(tl.load(term + 10)):
                own_y, down = _source(firsts, weights, term + 8, y, i)
                for j in range(tl.load(term + 13)):
                    own_x, across = _source(firsts, weights, term + 11, x, j)
                    weight = down * across * tl.load(constants + number)
                    if tl.load(term + 6) == 1:
                        weight = weight * _attention_at(attention, firsts, weights, term, image, own_y, own_x)
                    values = _logits_at(logits, firsts, weights, term, image, own_y, own_x, k, num_classes)
                    added += weight[:, None] * values
                    total_weight += weight
            keep = tl.where(tl.load(term + 7) == 1, 1.0, 1.0 - total_weight)
            fused = added + keep[:, None] * fused
        total += fused
    total = total / num_views

    broken = tl.sum(tl.where(known & ~(tl.abs(total) < float("inf")), 1, 0), axis=1) > 0  # NaN too
    highest = tl.max(tl.where(known, total, -float("inf")), axis=1)
    winner = tl.min(tl.where(known & (total == highest[:, None]), k[None, :], CLASSES), axis=1)
    inverse = tl.sum(tl.where(known, tl.exp(total - highest[:, None]), 0.0), axis=1)
    exceeded = tl.zeros((BLOCK,), tl.int32)
    for i in range(num_limits):
        exceeded += tl.where(inverse < tl.load(limits + i), 1, 0)
    code = winner * bins + exceeded
    if bins_with_second > 0:
        others = tl.where(known & (k[None, :] != winner[:, None]), total, -float("inf"))
        next_highest = tl.max(others, axis=1)
        second = tl.min(tl.where(others == next_highest[:, None], k[None, :], CLASSES), axis=1)
        code = code * seconds + tl.where(exceeded < bins_with_second, second, num_classes)
    code = tl.where(broken, invalid, code)
    tl.store(codes + image.to(tl.int64) * pixels + pixel, code.to(codes.dtype.element_ty), mask=inside)
