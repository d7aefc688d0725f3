"""The Lovász-Softmax loss (Berman, Triki, Blaschko, arXiv 1705.08790, section 3): a smooth stand-in for 1 - IoU."""

from __future__ import annotations

import numpy as np
import torch

from autolabel.losses.masking import LossNormalizer, loss_normalizer, valid_pixels
from autolabel.losses.pixelwise import cross_entropy, loss_type
from autolabel.models.layers import at_least_float32


def lovasz_softmax(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: LossNormalizer | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over the images of the mean over the classes that an image shows (equation 11); a scalar from 0 to 1.

    Arguments are those of `cross_entropy`. Every class counts alike, so class weights and confidences have no effect,
    but for a pixel of weight 0, which is ignored. Images are kept apart, so that parts of a batch add up.
    """
    counts = counts or loss_normalizer(labels, logits.shape[1], weights)
    valid = valid_pixels(labels, logits.shape[1])
    valid = valid if weights is None else valid & (weights > 0)
    with torch.autocast(logits.device.type, enabled=False):
        probabilities = torch.softmax(at_least_float32(logits), dim=1)
        # Where the order of the errors does not change, the loss is linear in them, and so in the probabilities.
        slopes, at_zero = torch.zeros_like(probabilities), probabilities.new_zeros(())
        with torch.no_grad():
            for image in range(len(logits)):
                pixels = valid[image].flatten().nonzero().squeeze(1)
                at_zero += _fill_slopes(
                    slopes[image].flatten(1), probabilities[image].flatten(1), labels[image].flatten(), pixels
                )
        return (((probabilities * slopes).sum() + at_zero) / counts.images).to(loss_type(logits))


def cross_entropy_and_lovasz(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: LossNormalizer | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Their sum: cross-entropy moves the pixels that are wrong by far, where the other loss is nearly flat."""
    return cross_entropy(logits, labels, counts, weights) + lovasz_softmax(logits, labels, counts, weights)


def _fill_slopes(
    slopes: torch.Tensor, probabilities: torch.Tensor, labels: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """Write an image's derivatives by its probabilities, both (K, N); returns its loss where all probabilities are 0.

    `labels` is (N,), `pixels` the indices of those that count.
    """
    labels, probabilities = labels[pixels], probabilities[:, pixels]
    classes = [int(index) for index in labels.unique()]
    at_zero = probabilities.new_zeros(())
    for index in classes:
        is_class = labels == index
        error = torch.where(is_class, 1 - probabilities[index], probabilities[index])
        rises = _rises(error, is_class) / len(classes)
        slopes[index, pixels] = torch.where(is_class, -rises, rises)
        at_zero += rises[is_class].sum()
    return at_zero


def _rises(error: torch.Tensor, is_class: torch.Tensor) -> torch.Tensor:
    """How much 1 - IoU rises when a pixel becomes wrong after those of larger errors (equation 9); (N,) as `error`."""
    order = _descending(error)
    hits = is_class[order]
    missed = hits.cumsum(0)
    union = missed[-1] + torch.arange(1, len(order) + 1, device=order.device) - missed
    loss = 1 - (missed[-1] - missed).double() / union  # when that many pixels are wrong
    loss[1:] -= loss[:-1].clone()
    return torch.empty_like(error).index_copy_(0, order, loss.to(error.dtype))


def _descending(values: torch.Tensor) -> torch.Tensor:
    """The indices that sort values (N,). On a CPU NumPy sorts four times faster than torch."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(-values.numpy()))
    return values.argsort(descending=True, stable=True)
