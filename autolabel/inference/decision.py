"""The decision: from fused logits to codes, by `autolabel.labels.codebook.RULE`.

A pixel of class c exceeds t iff sum_k exp(l_k - l_c) < 1/t, in float32, summed in class order; ties go to the lower
class id. Rows are decided in strips, so no softmax of full size ever exists. The result depends on neither strip
height, batch nor memory layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook

_DTYPES = {1: torch.uint8, 2: torch.uint16}
_STRIP_PIXELS = {"cpu": 1 << 15}  # fits the cache
_STRIP_PIXELS_DEVICE = 1 << 21  # on other devices few large kernels are faster
_SUM_TOLERANCE = 1e-3
_MIN_PROBABILITY = 1e-3  # no edge is lower: a winner at or below this is no prediction


def encode(logits: Tensor, book: Codebook) -> Tensor:
    """Codes (B, H, W), uint8 or uint16 by the codebook, of float logits (B, K, H, W).

    A pixel with a logit that is not finite gets the invalid code.
    """
    assert logits.shape[1] == book.num_classes, f"{logits.shape[1]} maps, codes of {book.num_classes} classes"
    return _by_strips(logits, book, _inverse_probability_from_logits)


def encode_probabilities(probabilities: Tensor, book: Codebook) -> Tensor:
    """Codes (B, H, W) of class probabilities (B, K, H, W), by the same rule: p > t iff sum(p) / max(p) < 1/t.

    With K + 1 maps the last is the probability of "no class": it never wins, but counts in the sum. The code is
    invalid if the winner's probability does not exceed 0.001. DataError unless every pixel's probabilities
    are finite, none is negative and they sum to 1 within 1e-3.
    """
    num_maps = probabilities.shape[1]
    assert num_maps - book.num_classes in (0, 1), f"{num_maps} maps, codes of {book.num_classes} classes"
    return _by_strips(probabilities, book, partial(_inverse_probability, num_classes=book.num_classes))


def _by_strips(
    values: Tensor, book: Codebook, inverse_probability: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    batch, _, height, width = values.shape
    codes = empty_codes((batch, height, width), book, values.device)
    for image, out in zip(values, codes, strict=True):
        for top, bottom in strips(height, width, values.device):
            strip = image[:, top:bottom].to(torch.float32).contiguous()  # (K, h, W)
            out[top:bottom] = _codes(strip, *inverse_probability(strip), book)
    return codes


def empty_codes(size: tuple[int, int, int], book: Codebook, device: torch.device) -> Tensor:
    return torch.empty(size, dtype=_DTYPES[book.dtype.itemsize], device=device)


def strips(height: int, width: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """(top, bottom) of strips of rows, of a height that suits the device."""
    rows = max(1, _STRIP_PIXELS.get(device.type, _STRIP_PIXELS_DEVICE) // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def encode_strip(logits: Tensor, book: Codebook) -> Tensor:
    """Like `encode`, for one strip (K, h, W): codes (h, W), of any number type."""
    logits = logits.to(torch.float32)
    return _codes(logits, *_inverse_probability_from_logits(logits), book)


def _codes(values: Tensor, winner: Tensor, inverse: Tensor, book: Codebook) -> Tensor:
    """(h, W) float32 codes of winning classes and 1/p; a non-finite 1/p makes the code invalid.

    `values`: logits or probabilities (K or K + 1, h, W), which give the second classes.
    """
    codes = winner * book.bins
    limits = book.limits.tolist()
    for limit in limits:
        codes += inverse < limit
    if book.bins_with_second:
        sure = inverse < limits[book.bins_with_second - 1]
        second = _second(values[: book.num_classes], winner).masked_fill_(sure, book.num_classes)
        codes = codes * book.seconds + second
    return codes.masked_fill_(~inverse.isfinite(), book.invalid)


def _inverse_probability_from_logits(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Winner (h, W) and sum exp(l - max) (h, W) of logits (K, h, W); not finite where any logit is not."""
    highest = logits.amax(dim=0)
    below = logits - highest  # 0 at the winners
    winner = _argmax_first(below)
    inverse = _sum(below.exp_())  # NaN and +inf reach the sum by themselves
    return winner, inverse.masked_fill_(logits.amin(dim=0) == -torch.inf, torch.inf)


def _inverse_probability(probabilities: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    classes = probabilities[:num_classes]
    highest = classes.amax(dim=0)
    winner = _argmax_first(classes - highest)
    total = _sum(probabilities)
    if not bool((total - 1).abs().max() <= _SUM_TOLERANCE) or bool(probabilities.min() < 0):  # NaN fails the first
        raise DataError("teacher", "its probabilities are not finite, negative or do not sum to 1 at every pixel")
    inverse = total / highest
    return winner, inverse.masked_fill_(inverse >= 1 / _MIN_PROBABILITY, torch.inf)


def _argmax_first(below: Tensor) -> Tensor:
    """(h, W) float32: the lowest class at which (K, h, W), nowhere above zero, is zero.

    Arithmetic is several times faster on a CPU than comparing: the maximum of -k where zero and -k - K elsewhere.
    """
    num_classes = len(below)
    ids = torch.arange(num_classes, dtype=below.dtype, device=below.device).view(-1, 1, 1)
    return torch.sub(torch.sign(below).mul_(num_classes), ids).amax(dim=0).neg_()


def _second(values: Tensor, winner: Tensor) -> Tensor:
    """(h, W) float32: the class with the highest of (K, h, W) except the winner, ties to the lower id."""
    others = values.scatter(0, winner.nan_to_num(0).long()[None], -torch.inf)
    return _argmax_first(others - others.amax(dim=0))


def _sum(values: Tensor) -> Tensor:
    """Sum over classes, in class order."""
    total = values[0].clone()
    for value in values[1:]:
        total += value
    return total
