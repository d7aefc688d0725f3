"""What a network costs: its parameters, and the FLOPs of a pass, counted by torch on shapes alone.

FLOPs are those of `torch.utils.flop_counter`: convolutions and matrix products, forward, 2 a multiply-add; norms,
activations, resizing and the fusion itself are left out. A backward pass costs about twice the forward pass again,
for every part alike, so ratios of training costs are those of forward passes (and torch's formula for it does not
know grouped convolutions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autolabel.config.schema import ModelConfig
from autolabel.models.model import MultiscaleWrapper, SegmentationModel, build_model
from autolabel.models.resize import resize, scaled_size

PARTS = ("trunk", "head", "attention")  # the children of a `SegmentationModel`


class PartCounts(NamedTuple):
    """A number for each part of a network."""

    trunk: int
    head: int
    attention: int

    @property
    def total(self) -> int:
        return sum(self)


class Cost(NamedTuple):
    """One image, once through the network."""

    parameters: PartCounts
    scales: tuple[float, ...]  # that the pass runs over, ascending
    flops: PartCounts  # all scales together
    skipped: int  # FLOPs of the highest scale's attention: no fusion reads it, so it is not computed


def count_training(table: dict[str, Any] | ModelConfig, num_classes: int, size: tuple[int, int]) -> Cost:
    """The forward pass of training on one crop of (height, width) `size`. ConfigError: no such network."""
    model, images = _on_paper(table, num_classes, size)
    return _cost(model, model, images, model.training_scales)


def count_labelling(
    table: dict[str, Any] | ModelConfig,
    num_classes: int,
    size: tuple[int, int],
    scales: Sequence[float] = (1.0,),
    *,
    prepare: Callable[[SegmentationModel], SegmentationModel] = lambda model: model,
) -> Cost:
    """Labelling one image of (height, width) `size` at `scales`, without flip, by the network that `prepare` makes of
    the one on the meta device.

    ConfigError: no such network, or scales that its fusion cannot fuse.
    """
    model, images = _on_paper(table, num_classes, size)
    model = prepare(model)
    return _cost(model, MultiscaleWrapper(model, scales), images, scales)


def _on_paper(
    table: dict[str, Any] | ModelConfig, num_classes: int, size: tuple[int, int]
) -> tuple[SegmentationModel, torch.Tensor]:
    """A network and an image that have shapes and no memory. In eval mode: one image is then enough for any head."""
    with torch.device("meta"):
        return build_model(table, num_classes).eval(), torch.empty(1, 3, *size)


def _cost(model: SegmentationModel, run: nn.Module, images: torch.Tensor, scales: Sequence[float]) -> Cost:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(images)
    path = {id(module): name for name, module in run.named_modules()}[id(model)]
    names = {part: ".".join(filter(None, (type(run).__name__, path, part))) for part in PARTS}
    counts = counter.get_flop_counts()
    flops = PartCounts(*(_sum(counts.get(names[part], {})) for part in PARTS))
    assert flops.total == counter.get_total_flops(), (flops, counter.get_total_flops())
    parameters = PartCounts(*(_parameters(getattr(model, part)) for part in PARTS))
    return Cost(parameters, tuple(sorted(scales)), flops, _top_attention(model, images, max(scales)))


def _top_attention(model: SegmentationModel, images: torch.Tensor, scale: float) -> int:
    if model.attention is None or model.fusion.fixed_scales:
        return 0
    scaled = resize(images, scaled_size((images.shape[-2], images.shape[-1]), scale))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.evidence(scaled)
    return _sum(counter.get_flop_counts()[type(model.attention).__name__])


def _sum(counts: Mapping[Any, int]) -> int:
    return sum(counts.values())


def _parameters(module: nn.Module | None) -> int:
    return sum(p.numel() for p in module.parameters()) if module is not None else 0
