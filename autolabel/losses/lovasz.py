"""The Lovász-Softmax loss (Berman, Triki, Blaschko, arXiv 1705.08790, section 3): a smooth stand-in for 1 - IoU."""

from __future__ import annotations

import torch

from autolabel.losses.masking import LossNormalizer, loss_normalizer, valid_pixels
from autolabel.losses.pixelwise import cross_entropy, loss_type
from autolabel.models.layers import at_least_float32

BINS = 1024  # Errors are put into bins. This is faster than a sort, and lowers the loss by at most 1 / BINS.


def lovasz_softmax(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: LossNormalizer | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over the images of the mean over the classes that an image shows (equation 11); a scalar from 0 to 1.

    Arguments are those of `cross_entropy`. Every class counts alike: class weights and confidences have no effect,
    except that a pixel of weight 0 is ignored. Images are kept apart, so that parts of a batch add up.
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
    labels = labels[pixels]
    classes = [int(index) for index in labels.unique()]
    at_zero = probabilities.new_zeros(())
    for index in classes:
        is_class, probability = labels == index, probabilities[index][pixels]
        error = torch.where(is_class, 1 - probability, probability)
        # A number that is not finite makes the loss so as well; here it only must not be an index.
        bins = (error * BINS).int().clamp_(0, BINS - 1) + BINS * is_class
        rises, of_hits = _rises(torch.bincount(bins, minlength=2 * BINS).view(2, BINS))
        signed = torch.stack((rises[0], -rises[1])) / len(classes)
        slopes[index].index_copy_(0, pixels, signed.to(slopes.dtype).flatten()[bins])
        at_zero += of_hits / len(classes)
    return at_zero


def _rises(counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much 1 - IoU rises for each pixel that becomes wrong, the largest errors first (equation 9).

    `counts` (2, BINS) are the pixels of other classes and of this class by error. In a bin, those of the class come
    first, and each has the mean of its kind. Returns float64 rises, shaped alike, and the sum of those of the class.
    """
    others, hits = counts.flip(1).double()
    num_others, num_hits = others.cumsum(0), hits.cumsum(0)
    total = num_hits[-1]
    before = 1 - (total - num_hits + hits) / (total + num_others - others)
    between = 1 - (total - num_hits) / (total + num_others - others)
    after = 1 - (total - num_hits) / (total + num_others)
    rises = torch.stack(((after - between) / others.clamp(min=1), (between - before) / hits.clamp(min=1)))
    return rises.flip(1), (between - before).sum()
