"""Trunk x head x fusion: one network."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

import torch
from pydantic import ValidationError
from torch import nn

from autolabel.config import Model
from autolabel.errors import ConfigError
from autolabel.models.fusion import FUSIONS, fuse_pair
from autolabel.models.heads import HEADS, ScaleAttention
from autolabel.models.layers import at_least_float32
from autolabel.models.resize import resize, scaled_size
from autolabel.models.trunks import TRUNKS

Entry = TypeVar("Entry")


class ScaleOutput(NamedTuple):
    """What one pass over the images of one scale gives, at stride 4."""

    logits: torch.Tensor  # (B, K, h, w)
    attention: torch.Tensor | None  # (B, 1, h, w) in (0, 1)
    aux: torch.Tensor | None  # (B, K, h, w)


class TrainOutput(NamedTuple):
    """What the training loss needs, all at the input size."""

    fused: torch.Tensor  # (B, K, H, W)
    fused_aux: torch.Tensor | None  # (B, K, H, W)
    per_scale: dict[float, torch.Tensor]  # scale -> (B, K, H, W); empty where the model trains on one scale


class SegmentationModel(nn.Module):
    """Images are RGB, normalised (`models.normalise`), (B, 3, H, W), of any size from one pixel up."""

    def __init__(self, table: Model, num_classes: int) -> None:
        super().__init__()
        assert num_classes >= 1, num_classes
        self.table: dict[str, Any] = table.model_dump()
        self.num_classes = num_classes
        self.fusion = choose("fusion", table.fusion, FUSIONS)
        self.trunk = choose("trunk", table.trunk, TRUNKS)()
        self.head = choose("head", table.head, HEADS)(self.trunk.channels, num_classes, table)
        self.attention = ScaleAttention(self.head.channels, table.attention_channels) if self.fusion.attends else None

    def evidence(self, images: torch.Tensor, *, attention: bool = True) -> ScaleOutput:
        """One scale. `attention=False` leaves the attention head out: the highest scale's is never used.

        Whatever the network ran in, what comes out is at least float32: fusing and deciding need its precision.
        """
        out = self.head(self.trunk(images.contiguous(memory_format=torch.channels_last)))
        weight = self.attention(out.features) if attention and self.attention is not None else None
        logits, aux = at_least_float32(out.logits), None if out.aux is None else at_least_float32(out.aux)
        return ScaleOutput(logits, weight, aux)

    def forward(self, images: torch.Tensor) -> TrainOutput:
        """The training pass: over the pair (low_scale, 1.0) where the fusion attends, over 1.0 otherwise."""
        return self._pair(images) if self.fusion.attends else self._single(images)

    def _single(self, images: torch.Tensor) -> TrainOutput:
        size = images.shape[-2], images.shape[-1]
        out = self.evidence(images)
        return TrainOutput(resize(out.logits, size), None if out.aux is None else resize(out.aux, size), {})

    def _pair(self, images: torch.Tensor) -> TrainOutput:
        """arXiv 2005.10821, section 3.1; the auxiliary logits are fused by the same attention."""
        size = images.shape[-2], images.shape[-1]
        scale = float(self.table["low_scale"])
        low_size = scaled_size(size, scale)
        low = self.evidence(resize(images, low_size))
        high = self.evidence(images, attention=False)
        assert low.attention is not None
        attention = resize(low.attention, low_size)
        low_logits, high_logits = resize(low.logits, low_size), resize(high.logits, size)
        aux = None
        if low.aux is not None and high.aux is not None:
            aux = fuse_pair(resize(low.aux, low_size), attention, resize(high.aux, size))
        per_scale = {scale: resize(low_logits, size), 1.0: high_logits}
        return TrainOutput(fuse_pair(low_logits, attention, high_logits), aux, per_scale)


def choose(kind: str, name: str, entries: dict[str, Entry]) -> Entry:
    """The entry of that name; ConfigError with the known names otherwise."""
    if name in entries:
        return entries[name]
    close = get_close_matches(name, entries, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(f"model.{kind}", f"unknown {kind} {name!r}", f"{hint}known: {', '.join(sorted(entries))}")


def build_model(table: dict[str, Any] | Model, num_classes: int) -> SegmentationModel:
    """A network with fresh weights from `config.Model` or a part of its table (the rest has the published values).

    The weights are drawn from torch's global generator. ConfigError: an unknown trunk, head, fusion or setting.
    """
    return to_channels_last(SegmentationModel(_settings(table), num_classes))


def to_channels_last(model: SegmentationModel) -> SegmentationModel:
    """The memory format convolutions are fastest in, on CPUs and on GPUs with half precision."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs


def _settings(table: dict[str, Any] | Model) -> Model:
    if isinstance(table, Model):
        return table
    try:
        return Model.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(".".join(["model", *map(str, first["loc"])]), first["msg"]) from None
