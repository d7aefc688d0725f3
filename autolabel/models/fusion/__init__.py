"""Fusions: how the evidence of several scales becomes one map of logits. A new fusion is one entry of `FUSIONS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from autolabel.config import Model
from autolabel.errors import ConfigError
from autolabel.models.fusion.attention import ScaleAttention
from autolabel.models.fusion.average import average_scales, average_weights
from autolabel.models.fusion.explicit import SCALES, ExplicitAttention, explicit_weights, fuse_explicit
from autolabel.models.fusion.hierarchical import RawMaps, ScaleMaps, fuse_pair, fuse_scales, scale_weights


def _hierarchical_head(inputs: int, table: Model) -> nn.Module:
    return ScaleAttention(inputs, table.attention_channels)


def _explicit_head(inputs: int, table: Model) -> nn.Module:
    """Twice as wide: 512 published, where a scale's own head has 256."""
    return ExplicitAttention(inputs, 2 * table.attention_channels, softmax=table.softmax)


def _pair(table: Model) -> tuple[float, ...]:
    return (table.low_scale, 1.0)


@dataclass(frozen=True)
class Fusion:
    fuse: Callable[[Sequence[ScaleMaps]], torch.Tensor]
    weights: Callable[[Sequence[ScaleMaps]], dict[float, torch.Tensor]]
    head: Callable[[int, Model], nn.Module] | None = None  # features of so many channels -> attention
    training_scales: Callable[[Model], tuple[float, ...]] = lambda table: (1.0,)  # in the order they are run in
    joint: tuple[float, ...] = ()  # the scales that the head weighs together, if it does

    @property
    def attends(self) -> bool:
        """A scale's attention comes from its own features."""
        return self.head is not None and not self.joint

    def check(self, scales: Sequence[float]) -> None:
        """ConfigError for scales that cannot be fused."""
        if 1.0 not in scales or len(set(scales)) != len(scales):
            raise ConfigError("scales", f"{list(scales)} must be distinct and hold 1.0, the output size")
        if self.joint and set(scales) not in ({1.0}, set(self.joint)):
            why = f"{list(scales)} do not fit explicit fusion, which has learnt to weigh {list(self.joint)}"
            raise ConfigError("scales", why, "those, or 1.0 alone")


_UNWEIGHTED = Fusion(average_scales, average_weights)

FUSIONS: dict[str, Fusion] = {
    "hierarchical": Fusion(fuse_scales, scale_weights, _hierarchical_head, _pair),
    "explicit": Fusion(fuse_explicit, explicit_weights, _explicit_head, lambda table: SCALES, SCALES),
    # Both train on scale 1.0 and average what they are given: `average` is the baseline's name in published tables.
    "average": _UNWEIGHTED,
    "single": _UNWEIGHTED,
}

__all__ = [
    "FUSIONS",
    "ExplicitAttention",
    "Fusion",
    "RawMaps",
    "ScaleAttention",
    "ScaleMaps",
    "fuse_explicit",
    "fuse_pair",
    "fuse_scales",
    "scale_weights",
]
