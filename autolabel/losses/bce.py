"""Sigmoid cross-entropy of every class against the rest."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from autolabel.losses.valid import valid_pixels
from autolabel.models.layers import at_least_float32


def bce_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over valid pixels and classes, divided by (valid pixels + 1): the BCE part of the RMI loss.

    `logits` (B, K, H, W), `labels` (B, H, W) integer, 255 and whatever is not a class ignored.
    No one-hot map: over the classes of a pixel, BCE adds up to sum softplus(logits) - logit of its label.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = at_least_float32(logits)
        valid = valid_pixels(labels, logits.shape[1])
        target = torch.where(valid, labels.long(), 0).unsqueeze(1)  # (B, 1, H, W)
        pixels = F.softplus(logits).sum(dim=1) - logits.gather(1, target).squeeze(1)  # (B, H, W)
        return torch.where(valid, pixels, 0).sum() / (valid.sum() + 1)
