"""Labels that a training makes itself: the averaged weights label the weak view of a crop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call

from autolabel.classes import IGNORE
from autolabel.data.crops import ONLINE


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model is in eval mode within this context; then each module is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def online_labels(
    model: nn.Module,
    average: Mapping[str, torch.Tensor],
    inputs: Callable[[torch.Tensor], torch.Tensor],
    *,
    weak: torch.Tensor,
    labels: torch.Tensor,
    threshold: float,
    at_once: int,
) -> torch.Tensor:
    """Labels (B, h, w) uint8 in which the averaged weights have labelled the pixels that are `ONLINE` in `labels`.

    `weak` (B, h, w, 3) uint8 are the crops before strong changes, and `inputs` makes the network's input of them. Such
    a pixel becomes 255 if no class has a probability above `threshold` (FixMatch, Sohn et al., arXiv 2001.07685, eq. 4;
    in segmentation UniMatch, Yang et al., arXiv 2208.09910, section 3.1, with averaged weights as in its version 2).
    The network sees `at_once` crops at a time. The tensors may lie on the CPU, wherever the network is.
    """
    wanted = labels == ONLINE
    chosen = wanted.flatten(1).any(1)
    if not chosen.any():
        return labels
    found = []
    with evaluating(model):
        for crops in weak[chosen.to(weak.device)].split(at_once):
            logits = functional_call(model, dict(average), (inputs(crops),)).fused
            best, predicted = torch.softmax(logits.float(), dim=1).max(dim=1)
            found.append(torch.where(best > threshold, predicted, IGNORE).to(labels))
    result = labels.clone()
    result[chosen] = torch.where(wanted[chosen], torch.cat(found), labels[chosen])
    return result
