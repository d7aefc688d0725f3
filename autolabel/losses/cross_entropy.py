"""Softmax cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from autolabel.losses.counts import Counts, batch_counts
from autolabel.losses.valid import valid_pixels
from autolabel.models.layers import at_least_float32

SKIP = -100  # torch's default for `ignore_index`


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
    """Mean over the valid pixels; 0, not NaN, where there are none.

    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored; `counts` of the batch
    they are part of, by default their own.
    """
    counts = counts or batch_counts(labels, logits.shape[1])
    with torch.autocast(logits.device.type, enabled=False):
        valid = valid_pixels(labels, logits.shape[1])
        target = torch.where(valid, labels.long(), SKIP)
        total = F.cross_entropy(at_least_float32(logits), target, ignore_index=SKIP, reduction="sum")
        return total / counts.valid.clamp(min=1).to(total.dtype)
