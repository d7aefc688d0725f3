"""The fused decision: from the maps of all scales, at the stride of the head, directly to codes.

Fused logits of full size never exist. On CUDA one kernel does everything (`inference.fused_cuda`). On other devices, or
if the fusion has no terms for the kernel, strips of rows are resized, fused by the fusion's own formula
(`models.lazy_rows`), decided and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import cast

from torch import Tensor

from autolabel.inference.decision import empty_codes, encode, encode_strip, strips
from autolabel.labels.codebook import Codebook
from autolabel.models.fusion import Fusion, StridedOutput, Term
from autolabel.models.lazy_rows import LazyLeaf, LazyMap

# the maps of one batch, and perhaps those of the flipped batch, flipped back
Views = Sequence[Sequence[StridedOutput]]


def encode_fused(fusion: Fusion, views: Views, book: Codebook) -> Tensor:
    """Codes (B, H, W) of the mean fused logits of the views: equal to `encode(fused_logits(...))` except within 1e-6 of
    a tie or an edge."""
    terms = _kernel_terms(fusion, views)
    if terms is not None:
        from autolabel.inference.fused_cuda import encode_terms

        return encode_terms(terms, book)
    if not all(_finite(raw.logits) for view in views for raw in view):
        return encode(fused_logits(fusion, views), book)  # so non-finite values spoil their own pixels only
    return _encode_rows(fused_rows(fusion, views), book)


def _kernel_terms(fusion: Fusion, views: Views) -> list[list[Term]] | None:
    """The fusion's terms for the kernel, per view; None if it has none or there is no kernel."""
    if not _has_kernel(views[0][0].logits):
        return None
    lists = [fusion.terms(view) for view in views]
    known = [terms for terms in lists if terms is not None]
    return known if len(known) == len(lists) else None


def _has_kernel(logits: Tensor) -> bool:
    return logits.is_cuda and find_spec("triton") is not None


def _finite(values: Tensor) -> bool:
    return all(bool(bound.isfinite()) for bound in values.aminmax())


def fused_logits(fusion: Fusion, views: Views) -> Tensor:
    """Mean fused logits of the views (B, K, H, W); all maps are resized to full size."""
    first, *rest = (fusion.fuse([raw.resized() for raw in view]) for view in views)
    return sum(rest, start=first) / len(views) if rest else first


def fused_rows(fusion: Fusion, views: Views) -> LazyMap:
    """Like `fused_logits`, but only the requested rows are computed."""
    return cast(LazyMap, fused_logits(fusion, [[_lazy(raw) for raw in view] for view in views]))


def _lazy(raw: StridedOutput) -> StridedOutput:
    """Lazy maps in the place of tensors: `fuse` and `resize` accept both."""
    attention = None if raw.attention is None else cast(Tensor, LazyLeaf(raw.attention))
    return raw._replace(logits=cast(Tensor, LazyLeaf(raw.logits)), attention=attention)


def _encode_rows(fused: LazyMap, book: Codebook) -> Tensor:
    batch, num_classes, height, width = fused.shape
    assert num_classes == book.num_classes, f"{num_classes} maps, codes of {book.num_classes} classes"
    codes = empty_codes((batch, height, width), book, fused.like.device)
    for top, bottom in strips(height, batch * width, fused.like.device):
        for strip, out in zip(fused.rows(top, bottom), codes, strict=True):
            out[top:bottom] = encode_strip(strip, book)
    return codes
