"""Explicit attention: one head weighs a fixed set of scales against each other (Chen et al., arXiv 1511.03339).

Chen et al. apply a softmax over the scales. The baseline of arXiv 2005.10821 in NVIDIA/semantic-segmentation uses the
output of the head without one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from autolabel.config.networks import ModelConfig
from autolabel.models.fusion.base import Fusion, ScaledOutput, StridedOutput, Term
from autolabel.models.fusion.cuda_terms import by_descending_scale, linear_term, output_size
from autolabel.models.layers import Conv, at_least_float32
from autolabel.models.resize import resize

SCALES = (0.5, 1.0, 2.0)  # in the order of the head's output channels
JOINED = (1.0, 0.5, 2.0)  # in the order of its input channels


class ExplicitAttention(nn.Module):
    """Features of every scale -> (B, 3, h', w'), one map per scale: 3x3, ReLU, 1x1.

    Without softmax, the 1x1 is padded by one as in the published network, so its map is 2 larger than the features.
    """

    def __init__(self, inputs: int, width: int, *, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax
        self.first = Conv(len(SCALES) * inputs, width, 3)
        self.last = Conv(width, len(SCALES))
        self.last.padding = (0, 0) if softmax else (1, 1)
        self._start_as_average(width)

    def _start_as_average(self, width: int) -> None:
        """Start every scale with attention near 1 / 3, as hierarchical attention starts near 1 / 2.

        Attention near zero would leave the logits of all scales without a gradient. The first layer doubles the spread
        of the features, so the mean after its ReLU is 2 / sqrt(2 pi). The last layer has weights of both signs, because
        without a norm, equal signs would move all units alike, and large early steps would switch all of them off.
        """
        nn.init.kaiming_normal_(self.first.weight, mode="fan_in", nonlinearity="relu")
        self.first.weight.data.mul_(2)
        mean = math.sqrt(2 * math.pi) / (2 * width * len(SCALES))
        nn.init.normal_(self.last.weight, mean, 2 * mean)

    def forward(self, features: Mapping[float, torch.Tensor]) -> torch.Tensor:
        size = features[1.0].shape[-2], features[1.0].shape[-1]
        joined = torch.cat([resize(features[scale], size) for scale in JOINED], dim=1)
        weights = at_least_float32(self.last(torch.relu_(self.first(joined))))
        return weights.softmax(dim=1) if self.softmax else weights


class Explicit(Fusion):
    """Sums logits times attention over the scales; one head computes the attention of all `SCALES` together."""

    fixed_scales = SCALES

    def fuse(self, outputs: Sequence[ScaledOutput]) -> torch.Tensor:
        """Sum of logits times attention, both at the size of scale 1.0: (B, K, H, W).

        The attention maps of `ExplicitAttention` have this size already. Scale 1.0 alone returns its logits.
        """
        if len(outputs) == 1:
            return outputs[0].logits
        weights = self.weights(outputs)
        size = weights[1.0].shape[-2], weights[1.0].shape[-1]
        first, *rest = (resize(o.logits, size) * weights[o.scale] for o in outputs)
        return sum(rest, start=first)

    def weights(self, outputs: Sequence[ScaledOutput]) -> dict[float, torch.Tensor]:
        """scale -> (B, 1, H, W). The weights sum to 1 only with a softmax."""
        if len(outputs) == 1:
            return {1.0: torch.ones_like(outputs[0].logits[:, :1])}
        return {o.scale: o.attention for o in outputs if o.attention is not None}

    def terms(self, view: Sequence[StridedOutput]) -> list[Term]:
        size = output_size(view)
        return [linear_term(raw, size, attention=raw.attention, adds=True) for raw in by_descending_scale(view)]

    def head(self, inputs: int, table: ModelConfig) -> nn.Module:
        """Twice `attention_channels` wide: the published network has 512, and 256 in a hierarchical head."""
        return ExplicitAttention(inputs, 2 * table.attention_channels, softmax=table.softmax)

    def training_scales(self, table: ModelConfig) -> tuple[float, ...]:
        return SCALES
