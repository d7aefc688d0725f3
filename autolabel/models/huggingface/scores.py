"""From what a network returns to per-pixel probabilities.

Scores are maps (B, K + 1, H, W): one for each class of ours and a last one for everything else. They are sums over the
network's own classes, so windows can be averaged and sizes changed; `as_probabilities` comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from autolabel.models.layers import at_least_float32
from autolabel.models.resize import resize

_STRIP = 1 << 22  # values of one temporary: softmax over 150 classes at full size is never held twice
_QUERIES = 16  # masks enlarged at a time


class Logits(NamedTuple):
    """Of a network that says for each pixel how likely each of its L classes is."""

    logits: torch.Tensor  # (B, L, h, w)
    auxiliary: torch.Tensor | None = None  # (B, L, h', w'), in training mode, where the network has such a head


class Queries(NamedTuple):
    """Of a network whose queries each propose a class and where it is (Cheng et al., arXiv 2107.06278, section 3.3)."""

    classes: torch.Tensor  # (B, Q, L + 1) logits; the last is "no object"
    masks: torch.Tensor  # (B, Q, h, w) logits


Output = Logits | Queries


def scores(output: Output, maps: Sequence[int], num_maps: int, size: tuple[int, int]) -> torch.Tensor:
    """(B, num_maps, *size) float32; `maps` says for each of the network's classes which map it adds to."""
    with torch.autocast(output[0].device.type, enabled=False):
        if isinstance(output, Queries):
            return _query_scores(output, maps, num_maps, size)
        return _logit_scores(output, maps, num_maps, size)


def as_probabilities(found: torch.Tensor) -> torch.Tensor:
    """Scores (B, K + 1, H, W) -> probabilities that sum to 1 at every pixel, in place.

    Scores of queries are no probabilities: where several queries claim a pixel they sum to more than 1 and are
    normalised; where none does, what is missing belongs to no class. So a pixel that nobody claims with a sum of 0.3
    is not made sure by dividing.
    """
    total = found.sum(dim=1, keepdim=True)
    found /= total.clamp(min=1)
    found[:, -1:] += 1 - total.clamp(max=1)
    return found


def _logit_scores(output: Logits, maps: Sequence[int], num_maps: int, size: tuple[int, int]) -> torch.Tensor:
    logits = resize(at_least_float32(output.logits), size)
    batch, num_labels, height, width = logits.shape
    found = logits.new_zeros((batch, num_maps, height, width))
    rows = max(1, _STRIP // (batch * num_labels * width))
    for top in range(0, height, rows):
        strip = logits[:, :, top : top + rows].softmax(dim=1)
        _add(strip, maps, found[:, :, top : top + rows])
    return found


def _query_scores(output: Queries, maps: Sequence[int], num_maps: int, size: tuple[int, int]) -> torch.Tensor:
    labels = at_least_float32(output.classes).softmax(dim=-1)[..., :-1]  # (B, Q, L)
    classes = labels.new_zeros((*labels.shape[:2], num_maps))
    _add(labels.movedim(-1, 1), maps, classes.movedim(-1, 1))
    found = classes.new_zeros((classes.shape[0], num_maps, *size))
    for part, masks in zip(classes.split(_QUERIES, dim=1), output.masks.split(_QUERIES, dim=1), strict=True):
        found += torch.einsum("bqk,bqhw->bkhw", part, resize(at_least_float32(masks), size).sigmoid())
    return found


def _add(values: torch.Tensor, maps: Sequence[int], found: torch.Tensor) -> None:
    """found[:, maps[l]] += values[:, l], in the order of the network's classes."""
    assert len(maps) == values.shape[1], (len(maps), values.shape)
    for label, target in enumerate(maps):
        found[:, target] += values[:, label]
