"""A segmentation network: a trunk, a head and a fusion of scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import nn

from autolabel.config.networks import ModelConfig
from autolabel.errors import SettingError
from autolabel.models.fusion import FUSIONS, ScaledOutput, StridedOutput
from autolabel.models.heads import HeadOutput, build_head
from autolabel.models.layers import at_least_float32
from autolabel.models.lazy_rows import LazyMap
from autolabel.models.lookup import choose
from autolabel.models.resize import crop_to_size, pad_to_multiple, resize, scaled_size
from autolabel.models.trunks import build_trunk

Pass = tuple[StridedOutput, torch.Tensor | None]  # the output of one scale and its auxiliary logits


class ScaleOutput(NamedTuple):
    """The output of a pass at one scale, at the stride of the head (OCR: 4)."""

    logits: torch.Tensor  # (B, K, h, w)
    attention: torch.Tensor | None  # (B, 1, h, w) in (0, 1)
    aux: torch.Tensor | None  # (B, K, h, w)


class TrainOutput(NamedTuple):
    """Inputs of the training loss, all at the input size."""

    fused: torch.Tensor  # (B, K, H, W)
    fused_aux: torch.Tensor | None  # (B, K, H, W)
    per_scale: dict[float, torch.Tensor]  # scale -> (B, K, H, W); empty where the model trains on one scale


class SegmentationModel(nn.Module):
    """Takes RGB images (B, 3, H, W), normalised (`models.normalise`), of any size from one pixel up."""

    def __init__(self, table: ModelConfig, num_classes: int) -> None:
        super().__init__()
        assert num_classes >= 1, num_classes
        self.table: dict[str, Any] = table.model_dump()
        self.num_classes = num_classes
        self.fusion = choose("fusion", table.fusion, FUSIONS)
        if table.softmax and not self.fusion.fixed_scales:
            raise SettingError(
                "model.softmax", f"{table.fusion} fusion has no softmax", "leave it out, or use explicit"
            )
        self.training_scales = self.fusion.training_scales(table)
        self.trunk = build_trunk(table.trunk)
        self.head = build_head(self.trunk, num_classes, table)
        self.attention = self.fusion.head(self.head.channels, table)

    def forward_scale(self, images: torch.Tensor, *, attention: bool = True) -> ScaleOutput:
        """Run the network at one scale. `attention=False` skips the attention head: no fusion reads it at the highest
        scale.

        The output is at least float32, because fusion and decision need its precision.
        """
        out = self._head_output(images)
        weight = self.attention(out.features) if attention and self.attention and not self.fusion.fixed_scales else None
        return ScaleOutput(out.logits, weight, out.aux)

    def forward(self, images: torch.Tensor) -> TrainOutput:
        """The training pass.

        Hierarchical fusion trains on the pair (low_scale, 1.0) (arXiv 2005.10821, section 3.1), explicit fusion on all
        its scales, the others on 1.0. The same attention fuses the auxiliary logits.
        """
        size = images.shape[-2], images.shape[-1]
        passes = self._passes(images, self.training_scales)
        maps = [raw.resized() for raw, _ in passes]
        aux = [
            full._replace(logits=resize(aux, raw.size))
            for full, (raw, aux) in zip(maps, passes, strict=True)
            if aux is not None
        ]
        per_scale = {m.scale: resize(m.logits, size) for m in maps} if len(maps) > 1 else {}
        return TrainOutput(self.fusion.fuse(maps), self.fusion.fuse(aux) if aux else None, per_scale)

    def raw_maps(self, images: torch.Tensor, scales: Sequence[float]) -> list[StridedOutput]:
        """The maps of every scale at the stride of the head, in the order of `scales`.

        ConfigError for scales that this fusion cannot take.
        """
        self.fusion.check(scales)
        return [raw for raw, _ in self._passes(images, scales)]

    def scale_maps(self, images: torch.Tensor, scales: Sequence[float]) -> list[ScaledOutput]:
        """`raw_maps` resized to the image size of each scale, the input of `fusion.fuse`."""
        return [raw.resized() for raw in self.raw_maps(images, scales)]

    def _passes(self, images: torch.Tensor, scales: Sequence[float]) -> list[Pass]:
        """One pass per scale, in the order of `scales`."""
        if self.fusion.fixed_scales and len(scales) > 1:
            return self._joint_passes(images, scales)
        return self._separate_passes(images, scales)

    def _separate_passes(self, images: torch.Tensor, scales: Sequence[float]) -> list[Pass]:
        """Each scale computes its attention from its own features; the highest scale needs none."""
        passes: list[Pass] = []
        for scale in scales:
            size = scaled_size((images.shape[-2], images.shape[-1]), scale)
            out = self.forward_scale(self.trunk.view(images, size), attention=scale != max(scales))
            passes.append((StridedOutput(scale, out.logits, out.attention, size, size), out.aux))
        return passes

    def _joint_passes(self, images: torch.Tensor, scales: Sequence[float]) -> list[Pass]:
        """All features first; one head then computes the attention of every scale, for the size of the images."""
        size = images.shape[-2], images.shape[-1]
        sizes = {scale: scaled_size(size, scale) for scale in scales}
        outs = {scale: self._head_output(self.trunk.view(images, sizes[scale])) for scale in scales}
        assert self.attention is not None
        weights = self.attention({scale: out.features for scale, out in outs.items()})
        attention = dict(zip(self.fusion.fixed_scales, weights.split(1, dim=1), strict=True))
        return [
            (StridedOutput(scale, out.logits, attention[scale], sizes[scale], size), out.aux)
            for scale, out in outs.items()
        ]

    def _head_output(self, images: torch.Tensor) -> HeadOutput:
        """Pad the images to the size divisors of trunk and head, and crop the maps; logits are at least float32."""
        divisor = math.lcm(self.trunk.size_divisor, self.head.size_divisor)
        padded = pad_to_multiple(images, divisor)
        if not isinstance(padded, LazyMap):
            padded = padded.contiguous(memory_format=torch.channels_last)
        features, logits, aux = self.head(self.trunk(padded))
        crop = partial(crop_to_size, size=(images.shape[-2], images.shape[-1]), stride=self.head.stride)
        if divisor > 1:
            features, logits, aux = crop(features), crop(logits), None if aux is None else crop(aux)
        return HeadOutput(features, at_least_float32(logits), None if aux is None else at_least_float32(aux))


def build_model(table: dict[str, Any] | ModelConfig, num_classes: int) -> SegmentationModel:
    """A randomly initialised network for a `ModelConfig` or some of its settings (the others keep their defaults).

    The weights are drawn from torch's global generator. ConfigError for an unknown trunk, head, fusion or setting.
    """
    return to_channels_last(SegmentationModel(_settings(table), num_classes))


def to_channels_last(model: SegmentationModel) -> SegmentationModel:
    """The model in the memory format that is fastest on CPUs, and on GPUs in half precision."""
    fast: SegmentationModel = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
    return fast


def _settings(table: dict[str, Any] | ModelConfig) -> ModelConfig:
    if isinstance(table, ModelConfig):
        return table
    try:
        return ModelConfig.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingError(".".join(["model", *map(str, first["loc"])]), first["msg"]) from None


class MultiscaleWrapper(nn.Module):
    """A network together with its labelling scales: normalised images (B, 3, H, W) -> fused logits (B, K, H, W).

    Used for export and for counting FLOPs. ConfigError for scales that the network's fusion cannot fuse.
    """

    def __init__(self, model: SegmentationModel, scales: Sequence[float]) -> None:
        super().__init__()
        model.fusion.check(scales)
        self.model = model
        self.scales = tuple(sorted(map(float, scales), reverse=True))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.fusion.fuse(self.model.scale_maps(images, self.scales))
