"""Hierarchical multi-scale attention (arXiv 2005.10821): a scale's attention weighs it against the next higher scale.

Pure functions on maps that are each at their own scale's image size. The product of attention and logits is
resized, not its factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from autolabel.models.resize import resize


class RawMaps(NamedTuple):
    """One scale's evidence as its network gives it, with the sizes it is to be resized to before it is fused."""

    scale: float
    logits: torch.Tensor  # (B, K, h, w), at the stride of the head
    attention: torch.Tensor | None  # (B, 1, h', w'); the highest scale needs none
    size: tuple[int, int]  # of the image that was fed in: the logits'
    attention_size: tuple[int, int]  # the attention's

    def resized(self) -> ScaleMaps:
        attention = None if self.attention is None else resize(self.attention, self.attention_size)
        return ScaleMaps(self.scale, resize(self.logits, self.size), attention)


class ScaleMaps(NamedTuple):
    """One scale's evidence, at the size of the image that was fed in."""

    scale: float
    logits: torch.Tensor  # (B, K, h, w)
    attention: torch.Tensor | None  # (B, 1, h, w); the highest scale needs none


def fuse_pair(low_logits: torch.Tensor, low_attention: torch.Tensor, high_logits: torch.Tensor) -> torch.Tensor:
    """up(a_low p_low) + (1 - up(a_low)) p_high, at the size of `high_logits`: the training pair."""
    size = high_logits.shape[-2], high_logits.shape[-1]
    return resize(low_attention * low_logits, size) + (1 - resize(low_attention, size)) * high_logits


def fuse_scales(outputs: Sequence[ScaleMaps]) -> torch.Tensor:
    """Fuse any number of scales, given in any order, from the highest to the lowest.

    Start: P = p of the highest scale. Then for s >= 1, P = a_s p_s + (1 - a_s) down(P); for s < 1,
    P = up(a_s p_s) + (1 - up(a_s)) P. The result has the size of scale 1.0, if that is among the scales.
    """
    (_, fused, _), *rest = sorted(outputs, key=lambda o: -o[0])
    for scale, logits, attention in rest:
        assert attention is not None, f"scale {scale} has no attention"
        if scale >= 1:
            size = logits.shape[-2], logits.shape[-1]
            fused = attention * logits + (1 - attention) * resize(fused, size)
        else:
            fused = fuse_pair(logits, attention, fused)
    return fused


def scale_weights(
    outputs: Sequence[ScaleMaps],
) -> dict[float, torch.Tensor]:
    """The chain of `fuse_scales` unrolled: scale -> (B, 1, H, W) weight, summing to 1 at every pixel.

    Where the logits of each scale vary slowly, `fuse_scales` is the sum of weight times resized logits (exactly so
    for logits that are constant in space: products are resized, not their factors).
    """
    (top, logits, _), *rest = sorted(outputs, key=lambda o: -o[0])
    weights = {top: torch.ones_like(logits[:, :1])}
    for scale, logits, attention in rest:
        assert attention is not None, f"scale {scale} has no attention"
        if scale >= 1:
            size = logits.shape[-2], logits.shape[-1]
            weights = {s: resize(w, size) for s, w in weights.items()}
        else:
            size = weights[top].shape[-2], weights[top].shape[-1]
            attention = resize(attention, size)
        weights = {s: w * (1 - attention) for s, w in weights.items()} | {scale: attention}
    return weights
