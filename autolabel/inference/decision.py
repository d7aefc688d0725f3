"""The decision: from fused logits to codes, in the one stated form (`autolabel.labels.codes.RULE`).

A pixel of class c exceeds t iff sum_k exp(l_k - l_c) < 1/t, in float32, summed in class order; ties go to the lower
class id. Classes are added one by one into one map a strip of rows: no softmax of full size is ever held, and the
result depends on neither strip height, batch nor memory layout.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from autolabel.errors import DataError
from autolabel.labels.codes import CodeBook

_DTYPES = {1: torch.uint8, 2: torch.uint16}
_STRIP_PIXELS = {"cpu": 1 << 16}  # fits the cache
_STRIP_PIXELS_DEVICE = 1 << 24  # elsewhere few large kernels are faster
_SUM_TOLERANCE = 1e-3


def decide(logits: Tensor, book: CodeBook) -> Tensor:
    """Codes (B, H, W), uint8 or uint16 as the book says, of float logits (B, K, H, W).

    A pixel with a logit that is not finite gets the invalid code.
    """
    return _by_strips(logits, book, _logit_odds)


def decide_probabilities(probabilities: Tensor, book: CodeBook) -> Tensor:
    """Codes (B, H, W) of per-pixel class probabilities (B, K, H, W), by the same form: p > t iff sum(p) / max(p) < 1/t.

    DataError unless every pixel's probabilities are finite, none is negative and they sum to 1 within 1e-3.
    """
    return _by_strips(probabilities, book, _probability_odds)


def _by_strips(values: Tensor, book: CodeBook, odds: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    batch, num_classes, height, width = values.shape
    assert num_classes == book.num_classes, f"{num_classes} maps, codes of {book.num_classes} classes"
    codes = torch.empty((batch, height, width), dtype=_DTYPES[book.dtype.itemsize], device=values.device)
    rows = max(1, _STRIP_PIXELS.get(values.device.type, _STRIP_PIXELS_DEVICE) // width)
    limits = torch.from_numpy(book.limits).flip(0).to(values.device)  # ascending
    for image, out in zip(values, codes, strict=True):
        for top in range(0, height, rows):
            strip = image[:, top : top + rows].to(torch.float32).contiguous()  # (K, h, W)
            out[top : top + rows] = _codes(*odds(strip), book, limits).to(codes.dtype)
    return codes


def _codes(winner: Tensor, odds: Tensor, book: CodeBook, limits: Tensor) -> Tensor:
    """(h, W) int32 codes of winning classes and 1/p; a 1/p that is not finite makes the code invalid."""
    exceeded = len(limits) - torch.bucketize(odds, limits, right=True, out_int32=True)  # edges with 1/p < 1/t
    return (winner.to(torch.int32) * book.bins + exceeded).masked_fill_(~odds.isfinite(), book.invalid)


def _logit_odds(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Winner (h, W) uint8 and sum exp(l - max) (h, W) of logits (K, h, W); not finite where any logit is not."""
    winner, highest = _winner(logits)
    odds, lowest, term = torch.zeros_like(highest), highest.clone(), torch.empty_like(highest)
    for logit in logits:  # NaN and +inf reach the sum by themselves
        odds += torch.sub(logit, highest, out=term).exp_()
        torch.minimum(lowest, logit, out=lowest)
    return winner, odds.masked_fill_(lowest == -torch.inf, torch.inf)


def _probability_odds(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    winner, highest = _winner(probabilities)
    total = torch.zeros_like(highest)
    for probability in probabilities:
        total += probability
    if not bool((total - 1).abs().max() <= _SUM_TOLERANCE) or bool(probabilities.min() < 0):  # NaN fails the first
        raise DataError("teacher", "its probabilities are not finite, negative or do not sum to 1 at every pixel")
    return winner, total / highest


def _winner(values: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest class with the highest value and that value, (h, W) uint8 and float32, of (K, h, W)."""
    highest, winner = values[0].clone(), torch.zeros_like(values[0], dtype=torch.uint8)
    for train_id, value in enumerate(values[1:], start=1):
        winner.masked_fill_(value > highest, train_id)
        torch.maximum(highest, value, out=highest)
    return winner, highest
