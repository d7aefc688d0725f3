"""A fusion as a list of terms, which one kernel can run through pixel by pixel.

From the highest scale to the lowest, a pixel's fused logits become  F <- sum_i w_i a_i p_i + keep F,  where i are the
positions of the scale's own image that the pixel is resampled from, w_i their weights, a_i the attention and p_i the
logits there, themselves resampled from the head's stride; keep = 1 - sum_i w_i a_i, or 1 where terms just add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from autolabel.models.fusion import Fusion, RawMaps
from autolabel.models.taps import Taps, bilinear, identity

Axes = tuple[Taps, Taps]  # down, across


class Term(NamedTuple):
    logits: Tensor  # (B, K, h, w)
    attention: Tensor | None  # (B, 1, h', w'); None: `weight` everywhere
    weight: float
    adds: bool  # keep = 1
    own: Axes  # output pixel -> positions
    of_logits: Axes  # position -> pixels of `logits`
    of_attention: Axes  # position -> pixels of `attention`


def fusion_terms(fusion: Fusion, view: Sequence[RawMaps]) -> list[Term] | None:
    """The terms of one view, its scales in order; None where there are none: with two scales above 1 and attention,
    a product is resampled twice."""
    ordered = sorted(view, key=lambda raw: -raw.scale)
    size = next(raw.size for raw in ordered if raw.scale == 1)
    if not fusion.attends:
        if fusion.joint:
            return [_linear(raw, size, raw.attention, 1.0, adds=True) for raw in ordered]
        return [_linear(raw, size, None, 1 / len(ordered), adds=True) for raw in ordered]
    highest, *rest = ordered
    if any(raw.scale > 1 for raw in rest):
        return None
    return [_linear(highest, size, None, 1.0, adds=False), *(_product(raw, size) for raw in rest)]


def _linear(raw: RawMaps, size: tuple[int, int], attention: Tensor | None, weight: float, *, adds: bool) -> Term:
    """Logits are resampled to the output; attention, if any, is there already."""
    own = identity(size[0]), identity(size[1])
    folded = _resampling(raw.size, size, _resampling(raw.logits.shape[-2:], raw.size))
    of_attention = own if attention is None else _resampling(attention.shape[-2:], size)
    return Term(raw.logits, attention, weight, adds, own, folded, of_attention)


def _product(raw: RawMaps, size: tuple[int, int]) -> Term:
    """Attention times logits at the scale's own size, then resampled to the output."""
    assert raw.attention is not None, f"scale {raw.scale} has no attention"
    of_logits = _resampling(raw.logits.shape[-2:], raw.size)
    of_attention = _resampling(raw.attention.shape[-2:], raw.size)
    return Term(raw.logits, raw.attention, 1.0, False, _resampling(raw.size, size), of_logits, of_attention)


def _resampling(source: Sequence[int], target: Sequence[int], before: Axes | None = None) -> Axes:
    down, across = bilinear(source[0], target[0]), bilinear(source[1], target[1])
    return (down, across) if before is None else (down.after(before[0]), across.after(before[1]))
