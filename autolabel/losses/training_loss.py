"""The training loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from autolabel.losses.masking import LossNormalizer, loss_normalizer
from autolabel.losses.pixelwise import bce_loss, cross_entropy
from autolabel.losses.rmi import rmi_loss
from autolabel.models import TrainOutput

Loss = Callable[[torch.Tensor, torch.Tensor, LossNormalizer, torch.Tensor | None], torch.Tensor]


class LossPair(NamedTuple):
    main: Loss  # of the fused logits
    side: Loss  # of the auxiliary and the per-scale logits


LOSSES = {
    "rmi": LossPair(rmi_loss, bce_loss),
    "bce": LossPair(bce_loss, bce_loss),
    "ce": LossPair(cross_entropy, cross_entropy),
}


def training_loss(
    output: TrainOutput,
    labels: torch.Tensor,
    *,
    loss: str = "rmi",
    aux_weight: float = 0.4,
    scale_weight: float = 0.05,
    counts: LossNormalizer | None = None,
    confidence: torch.Tensor | None = None,
) -> torch.Tensor:
    """main(fused) + aux_weight * side(fused auxiliary) + scale_weight * sum over scales of side(logits of the scale).

    `labels` is (B, H, W), at the size of the output; `confidence` is (B, H, W) uint8 with 255 = 1. The result is a
    scalar, which may be negative with RMI. The default weights are the published ones. With the normaliser `counts` of
    a larger batch, the losses of the parts of the batch sum to its loss, and so do the gradients.
    """
    assert labels.shape == (output.fused.shape[0], *output.fused.shape[2:]), (labels.shape, output.fused.shape)
    counts = counts or loss_normalizer(labels, output.fused.shape[1], confidence)
    main, side = LOSSES[loss]
    total = main(output.fused, labels, counts, confidence)
    if output.fused_aux is not None and aux_weight:
        total = total + aux_weight * side(output.fused_aux, labels, counts, confidence)
    if scale_weight:
        for logits in output.per_scale.values():
            total = total + scale_weight * side(logits, labels, counts, confidence)
    return total
