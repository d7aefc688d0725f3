"""Masks of queries: products of vectors and features, in float32 whatever the network's format."""

from __future__ import annotations

import torch
from torch import Tensor

from autolabel.models.layers import at_least_float32, without_autocast


def mask_logits(vectors: Tensor, features: Tensor) -> Tensor:
    """Vectors (B, Q, C) and features (B, C, H, W) -> logits (B, Q, H, W), never rounded to half precision."""
    with without_autocast(features.device):
        return torch.einsum("bqc,bchw->bqhw", at_least_float32(vectors), at_least_float32(features))
