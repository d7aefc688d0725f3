"""Fusions: how the evidence of several scales becomes one map of logits. A new fusion is one entry of `FUSIONS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from autolabel.models.fusion.average import average_scales, average_weights
from autolabel.models.fusion.hierarchical import ScaleMaps, fuse_pair, fuse_scales, scale_weights


@dataclass(frozen=True)
class Fusion:
    attends: bool  # the model has an attention head and trains on a pair of scales
    fuse: Callable[[Sequence[ScaleMaps]], torch.Tensor]
    weights: Callable[[Sequence[ScaleMaps]], dict[float, torch.Tensor]]


FUSIONS: dict[str, Fusion] = {
    "hierarchical": Fusion(True, fuse_scales, scale_weights),
    "single": Fusion(False, average_scales, average_weights),
}

__all__ = ["FUSIONS", "Fusion", "ScaleMaps", "fuse_pair", "fuse_scales", "scale_weights"]
