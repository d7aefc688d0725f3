"""Per-pixel probabilities from the output of a network.

Scores are maps (B, K + 1, H, W): one per class of the experiment, and a last one for all other classes. They are sums
over the network's own classes, so they can be averaged over windows and resized; `as_probabilities` comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from autolabel.models.layers import at_least_float32, without_autocast
from autolabel.models.resize import resize

_STRIP = 1 << 22  # values per temporary, so that softmax over 150 classes never exists twice at full size
_QUERIES = 16  # masks resized at a time


class Logits(NamedTuple):
    """Output of a network that classifies pixels into L classes."""

    logits: torch.Tensor  # (B, L, h, w)
    auxiliary: torch.Tensor | None = None  # (B, L, h', w'), in training mode if the network has an auxiliary head


class Queries(NamedTuple):
    """Output of a network whose queries propose a class and a mask (Cheng et al., arXiv 2107.06278, section 3.3)."""

    classes: torch.Tensor  # (B, Q, L + 1) logits; the last is "no object"
    masks: torch.Tensor  # (B, Q, h, w) logits


class Concepts(NamedTuple):
    """Output of a network that was asked for each of P prompts."""

    claims: torch.Tensor  # (B, P, h, w) in [0, 1]: the highest product of score and mask of all queries


Output = Logits | Queries | Concepts


def scores(output: Output, maps: Sequence[int], num_maps: int, size: tuple[int, int]) -> torch.Tensor:
    """(B, num_maps, *size) float32; class l of the network adds to map `maps[l]`, and prompts of one map compete."""
    with without_autocast(output[0].device):
        if isinstance(output, Concepts):
            return _concept_scores(output, maps, num_maps, size)
        if isinstance(output, Queries):
            return _query_scores(output, maps, num_maps, size)
        return _logit_scores(output, maps, num_maps, size)


def as_probabilities(values: torch.Tensor) -> torch.Tensor:
    """Scores (B, K + 1, H, W) -> probabilities that sum to 1 at every pixel, in place.

    Scores of queries are not probabilities. A sum above 1, where several queries claim a pixel, is normalised. A sum
    below 1 is not: the rest goes to no class, so that a weak claim does not become a confident one.
    """
    total = values.sum(dim=1, keepdim=True)
    values /= total.clamp(min=1)
    values[:, -1:] += 1 - total.clamp(max=1)
    return values


def _logit_scores(output: Logits, maps: Sequence[int], num_maps: int, size: tuple[int, int]) -> torch.Tensor:
    logits = resize(at_least_float32(output.logits), size)
    batch, num_labels, height, width = logits.shape
    result = logits.new_zeros((batch, num_maps, height, width))
    rows = max(1, _STRIP // (batch * num_labels * width))
    for top in range(0, height, rows):
        strip = logits[:, :, top : top + rows].softmax(dim=1)
        _add(strip, maps, result[:, :, top : top + rows])
    return result


def _query_scores(output: Queries, maps: Sequence[int], num_maps: int, size: tuple[int, int]) -> torch.Tensor:
    labels = at_least_float32(output.classes).softmax(dim=-1)[..., :-1]  # (B, Q, L)
    classes = labels.new_zeros((*labels.shape[:2], num_maps))
    _add(labels.movedim(-1, 1), maps, classes.movedim(-1, 1))
    result = classes.new_zeros((classes.shape[0], num_maps, *size))
    for queries, masks in zip(classes.split(_QUERIES, dim=1), output.masks.split(_QUERIES, dim=1), strict=True):
        result += torch.einsum("bqk,bqhw->bkhw", queries, resize(at_least_float32(masks), size).sigmoid())
    return result


def _concept_scores(output: Concepts, maps: Sequence[int], num_maps: int, size: tuple[int, int]) -> torch.Tensor:
    """The highest claim of each map: several prompts for one class name the same pixels, so they do not add up."""
    claims = at_least_float32(output.claims)
    result = claims.new_zeros((len(claims), num_maps, *size))
    for claim, target in zip(claims.split(1, dim=1), maps, strict=True):
        result[:, target] = torch.maximum(result[:, target], resize(claim, size)[:, 0])
    return result


def _add(values: torch.Tensor, maps: Sequence[int], result: torch.Tensor) -> None:
    """result[:, maps[l]] += values[:, l], in the order of the network's classes."""
    assert len(maps) == values.shape[1], (len(maps), values.shape)
    for label, target in enumerate(maps):
        result[:, target] += values[:, label]
