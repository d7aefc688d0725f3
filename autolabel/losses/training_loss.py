"""The training loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from autolabel.losses.lovasz import cross_entropy_and_lovasz
from autolabel.losses.masking import LossNormalizer, loss_normalizer, targets
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
    "lovasz": LossPair(cross_entropy_and_lovasz, cross_entropy),
}


def training_loss(
    output: TrainOutput,
    labels: torch.Tensor,
    *,
    loss: str = "rmi",
    aux_weight: float = 0.4,
    scale_weight: float = 0.05,
    smoothing: float = 0.0,
    hard_below: float = 1.0,
    counts: LossNormalizer | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """main(fused) + aux_weight * side(fused auxiliary) + scale_weight * sum over scales of side(logits of the scale).

    `labels` is (B, H, W), at the size of the output; `weights` (B, H, W) are those of the pixels (`pixel_weights`). The
    result is a scalar, which may be negative with RMI. The default weights are the published ones. With the normaliser
    `counts` of a larger batch, the losses of the parts of the batch sum to its loss, and so do the gradients.
    `smoothing` is for cross-entropy alone. `hard_below` leaves out of the main loss each pixel whose class already has
    at least this probability (Shrivastava et al., arXiv 1604.03540, choose the hardest examples by their loss); the
    normaliser stays that of all pixels, so that parts of a batch still add up.
    """
    assert labels.shape == (output.fused.shape[0], *output.fused.shape[2:]), (labels.shape, output.fused.shape)
    counts = counts or loss_normalizer(labels, output.fused.shape[1], weights)
    main, side = LOSSES[loss]
    if smoothing:
        assert loss == "ce", loss
        main = side = partial(cross_entropy, smoothing=smoothing)
    total = main(output.fused, labels, counts, _of_hard_pixels(output.fused, labels, weights, hard_below))
    if output.fused_aux is not None and aux_weight:
        total = total + aux_weight * side(output.fused_aux, labels, counts, weights)
    if scale_weight:
        for logits in output.per_scale.values():
            total = total + scale_weight * side(logits, labels, counts, weights)
    return total


def _of_hard_pixels(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, below: float
) -> torch.Tensor | None:
    """The weights of the pixels, 0 where the class of the label has at least the probability `below`."""
    if below >= 1:
        return weights
    target, _ = targets(labels, logits.shape[1])
    with torch.no_grad():
        is_hard = (torch.softmax(logits, dim=1).gather(1, target) < below).squeeze(1)
    return is_hard.float() if weights is None else weights * is_hard
