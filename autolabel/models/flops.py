"""Parameters and FLOPs of a network, counted by torch on shapes alone.

FLOPs are those of `torch.utils.flop_counter`: convolutions and matrix products of the forward pass, 2 per multiply-add.
Norms, activations, resizing and the fusion itself are not counted. The backward pass of every component costs about
twice its forward pass, so ratios of training costs equal those of forward passes; torch's own count of the backward
pass is wrong for grouped convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autolabel.config.networks import ModelConfig
from autolabel.models.model import MultiscaleWrapper, SegmentationModel, build_model
from autolabel.models.resize import resize, scaled_size
from autolabel.models.skeleton import on_meta

PARTS = ("trunk", "head", "attention")  # the children of a `SegmentationModel`


class PartCounts(NamedTuple):
    """A number for each component of a network."""

    trunk: int
    head: int
    attention: int

    @property
    def total(self) -> int:
        return sum(self)


class Cost(NamedTuple):
    """The cost of one pass over one image."""

    parameters: PartCounts
    scales: tuple[float, ...]  # of the pass, ascending
    flops: PartCounts  # all scales together
    skipped: int  # FLOPs of the highest scale's attention, which no fusion reads and no pass computes


def count_training(table: dict[str, Any] | ModelConfig, num_classes: int, size: tuple[int, int]) -> Cost:
    """The forward pass of training on one crop of `size` (height, width). ConfigError if there is no such network."""
    model, images = _on_meta(table, num_classes, size)
    return _cost(model, model, images, model.training_scales)


def count_labelling(
    table: dict[str, Any] | ModelConfig,
    num_classes: int,
    size: tuple[int, int],
    scales: Sequence[float] = (1.0,),
    *,
    prepare: Callable[[SegmentationModel], SegmentationModel] = lambda model: model,
) -> Cost:
    """Labelling one image of `size` (height, width) at `scales`, without flip.

    `prepare` optimises the network on the meta device first. ConfigError if there is no such network, or its fusion
    cannot fuse the scales.
    """
    model, images = _on_meta(table, num_classes, size)
    model = prepare(model)
    return _cost(model, MultiscaleWrapper(model, scales), images, scales)


def _on_meta(
    table: dict[str, Any] | ModelConfig, num_classes: int, size: tuple[int, int]
) -> tuple[SegmentationModel, torch.Tensor]:
    """A network and an image on the meta device. Eval mode, because some heads cannot train on one image."""
    with on_meta():
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
        model.forward_scale(scaled)
    return _sum(counter.get_flop_counts()[type(model.attention).__name__])


def _sum(counts: Mapping[Any, int]) -> int:
    return sum(counts.values())


def _parameters(module: nn.Module | None) -> int:
    return sum(p.numel() for p in module.parameters()) if module is not None else 0
