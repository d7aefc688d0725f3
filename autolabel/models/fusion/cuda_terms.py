"""The two forms of a term (`Fusion.terms`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from autolabel.models.fusion.base import Axes, StridedOutput, Term
from autolabel.models.resample import bilinear, identity


def by_descending_scale(view: Sequence[StridedOutput]) -> list[StridedOutput]:
    return sorted(view, key=lambda raw: -raw.scale)


def output_size(view: Sequence[StridedOutput]) -> tuple[int, int]:
    """The image size at scale 1.0."""
    return next(raw.size for raw in view if raw.scale == 1)


def linear_term(
    raw: StridedOutput, size: tuple[int, int], *, attention: Tensor | None = None, weight: float = 1.0, adds: bool
) -> Term:
    """Logits resampled to the output, times `weight` and, if there is attention, times the resampled attention."""
    own = identity(size[0]), identity(size[1])
    folded = _resampling(raw.size, size, _resampling(raw.logits.shape[-2:], raw.size))
    of_attention = own if attention is None else _resampling(attention.shape[-2:], size)
    return Term(raw.logits, attention, weight, adds, own, folded, of_attention)


def product_term(raw: StridedOutput, size: tuple[int, int]) -> Term:
    """The product of attention and logits at the scale's own size, resampled to the output."""
    assert raw.attention is not None, f"scale {raw.scale} has no attention"
    of_logits = _resampling(raw.logits.shape[-2:], raw.size)
    of_attention = _resampling(raw.attention.shape[-2:], raw.size)
    return Term(raw.logits, raw.attention, 1.0, False, _resampling(raw.size, size), of_logits, of_attention)


def _resampling(source: Sequence[int], target: Sequence[int], before: Axes | None = None) -> Axes:
    down, across = bilinear(source[0], target[0]), bilinear(source[1], target[1])
    return (down, across) if before is None else (down.after(before[0]), across.after(before[1]))
