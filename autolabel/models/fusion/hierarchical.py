"""Hierarchical multi-scale attention (Tao et al., arXiv 2005.10821, section 3).

The attention of a scale weighs its logits against those of the next higher scale. Each map has the image size of its
own scale. The product of attention and logits is resized, not its factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autolabel.config.networks import ModelConfig
from autolabel.models.fusion.base import Fusion, ScaledOutput, StridedOutput, Term
from autolabel.models.fusion.cuda_terms import by_descending_scale, linear_term, output_size, product_term
from autolabel.models.layers import ClassifierConv, ConvNorm, at_least_float32
from autolabel.models.resize import resize


class ScaleAttention(nn.Module):
    """(B, `inputs`, h, w) -> (B, 1, h, w) in (0, 1): two 3x3 convolutions, one 1x1 without bias, sigmoid."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, channels, 3)
        self.second = ConvNorm(channels, channels, 3)
        self.last = ClassifierConv(channels, 1, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(at_least_float32(self.last(self.second(self.first(features)))))


def fuse_pair(low_logits: torch.Tensor, low_attention: torch.Tensor, high_logits: torch.Tensor) -> torch.Tensor:
    """up(a_low p_low) + (1 - up(a_low)) p_high, at the size of `high_logits`: the training pair."""
    size = high_logits.shape[-2], high_logits.shape[-1]
    return resize(low_attention * low_logits, size) + (1 - resize(low_attention, size)) * high_logits


class Hierarchical(Fusion):
    """Fuses from the highest scale to the lowest, each by its own attention. Trains on (low_scale, 1.0)."""

    def fuse(self, outputs: Sequence[ScaledOutput]) -> torch.Tensor:
        """Fuse any number of scales, in any order.

        P starts as p of the highest scale. For s >= 1, P = a_s p_s + (1 - a_s) down(P); for s < 1,
        P = up(a_s p_s) + (1 - up(a_s)) P. The result has the size of scale 1.0 if that is one of the scales.
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

    def weights(self, outputs: Sequence[ScaledOutput]) -> dict[float, torch.Tensor]:
        """`fuse` unrolled: scale -> (B, 1, H, W) weights that sum to 1 at every pixel.

        `fuse` is close to the sum of weights times resized logits where logits vary slowly, and equal to it for logits
        that are constant in space: it resizes products, not their factors.
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

    def terms(self, view: Sequence[StridedOutput]) -> list[Term] | None:
        """None with two scales above 1, because `fuse` then resamples a product twice."""
        highest, *rest = by_descending_scale(view)
        if any(raw.scale > 1 for raw in rest):
            return None
        size = output_size(view)
        return [linear_term(highest, size, adds=False), *(product_term(raw, size) for raw in rest)]

    def head(self, inputs: int, table: ModelConfig) -> nn.Module:
        return ScaleAttention(inputs, table.attention_channels)

    def training_scales(self, table: ModelConfig) -> tuple[float, ...]:
        return (table.low_scale, 1.0)
