"""The decision: from fused logits to codes, in the one stated form (`autolabel.labels.codebook.RULE`).

A pixel of class c exceeds t iff sum_k exp(l_k - l_c) < 1/t, in float32, summed in class order; ties go to the lower
class id. Rows are decided in strips: no softmax of full size is ever held, and the result depends on neither strip
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
_STRIP_PIXELS_DEVICE = 1 << 21  # elsewhere few large kernels are faster
_SUM_TOLERANCE = 1e-3
_NOTHING = 1e-3  # no edge is lower: a winner that is not above this says nothing


def encode(logits: Tensor, book: Codebook) -> Tensor:
    """Codes (B, H, W), uint8 or uint16 as the book says, of float logits (B, K, H, W).

    A pixel with a logit that is not finite gets the invalid code.
    """
    assert logits.shape[1] == book.num_classes, f"{logits.shape[1]} maps, codes of {book.num_classes} classes"
    return _by_strips(logits, book, _inverse_probability_from_logits)


def encode_probabilities(probabilities: Tensor, book: Codebook) -> Tensor:
    """Codes (B, H, W) of per-pixel class probabilities (B, K, H, W), by the same form: p > t iff sum(p) / max(p) < 1/t.

    With K + 1 maps the last is the probability of no class of ours: it wins no pixel, and is part of the sum. Where
    not even the winner's probability exceeds 0.001 the code is invalid. DataError unless every pixel's probabilities
    are finite, none is negative and they sum to 1 within 1e-3.
    """
    num_maps = probabilities.shape[1]
    assert num_maps - book.num_classes in (0, 1), f"{num_maps} maps, codes of {book.num_classes} classes"
    return _by_strips(probabilities, book, partial(_inverse_probability, num_classes=book.num_classes))


def _by_strips(values: Tensor, book: Codebook, odds: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    batch, _, height, width = values.shape
    codes = empty_codes((batch, height, width), book, values.device)
    for image, out in zip(values, codes, strict=True):
        for top, bottom in strips(height, width, values.device):
            strip = image[:, top:bottom].to(torch.float32).contiguous()  # (K, h, W)
            out[top:bottom] = _codes(strip, *odds(strip), book)
    return codes


def empty_codes(size: tuple[int, int, int], book: Codebook, device: torch.device) -> Tensor:
    return torch.empty(size, dtype=_DTYPES[book.dtype.itemsize], device=device)


def strips(height: int, width: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """(top, bottom) of strips of rows, as high as suits the device."""
    rows = max(1, _STRIP_PIXELS.get(device.type, _STRIP_PIXELS_DEVICE) // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def encode_strip(logits: Tensor, book: Codebook) -> Tensor:
    """As `decide`, of one strip (K, h, W): codes (h, W), as numbers of any type."""
    logits = logits.to(torch.float32)
    return _codes(logits, *_inverse_probability_from_logits(logits), book)


def _codes(values: Tensor, winner: Tensor, odds: Tensor, book: Codebook) -> Tensor:
    """(h, W) float32 codes of winning classes and 1/p; a 1/p that is not finite makes the code invalid.

    `values`: logits or probabilities (K or K + 1, h, W), of which second classes are taken.
    """
    codes = winner * book.bins
    limits = book.limits.tolist()
    for limit in limits:
        codes += odds < limit
    if book.bins_with_second:
        sure = odds < limits[book.bins_with_second - 1]
        second = _second(values[: book.num_classes], winner).masked_fill_(sure, book.num_classes)
        codes = codes * book.seconds + second
    return codes.masked_fill_(~odds.isfinite(), book.invalid)


def _inverse_probability_from_logits(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Winner (h, W) and sum exp(l - max) (h, W) of logits (K, h, W); not finite where any logit is not."""
    highest = logits.amax(dim=0)
    below = logits - highest  # 0 at the winners
    winner = _argmax_first(below)
    odds = _sum(below.exp_())  # NaN and +inf reach the sum by themselves
    return winner, odds.masked_fill_(logits.amin(dim=0) == -torch.inf, torch.inf)


def _inverse_probability(probabilities: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    ours = probabilities[:num_classes]
    highest = ours.amax(dim=0)
    winner = _argmax_first(ours - highest)
    total = _sum(probabilities)
    if not bool((total - 1).abs().max() <= _SUM_TOLERANCE) or bool(probabilities.min() < 0):  # NaN fails the first
        raise DataError("teacher", "its probabilities are not finite, negative or do not sum to 1 at every pixel")
    odds = total / highest
    return winner, odds.masked_fill_(odds >= 1 / _NOTHING, torch.inf)


def _argmax_first(below: Tensor) -> Tensor:
    """(h, W) float32: the lowest class at which (K, h, W), nowhere above zero, is zero.

    By arithmetic, several times faster on a CPU than comparing: -k where zero, -k - K elsewhere, and the maximum.
    """
    num_classes = len(below)
    ids = torch.arange(num_classes, dtype=below.dtype, device=below.device).view(-1, 1, 1)
    return torch.sub(torch.sign(below).mul_(num_classes), ids).amax(dim=0).neg_()


def _second(values: Tensor, winner: Tensor) -> Tensor:
    """(h, W) float32: the class of the highest of (K, h, W) but for the winner, ties to the lower id."""
    others = values.scatter(0, winner.nan_to_num(0).long()[None], -torch.inf)
    return _argmax_first(others - others.amax(dim=0))


def _sum(values: Tensor) -> Tensor:
    """Over classes, in their order."""
    total = values[0].clone()
    for value in values[1:]:
        total += value
    return total
