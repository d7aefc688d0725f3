"""HRNet with OCR for inference: the same function with fewer operations and a fraction of the memory.

- The branches are neither resized nor concatenated (`inference.branch_convs`).
- The context of a pixel is a mean of class vectors weighted by a softmax, so the 1x1 convolution after it is applied
  to the few class vectors instead of every pixel (the weights sum to 1, so its bias moves along).
- The 1x1 convolution over context and features together becomes one over each, and their sum.
- On a CPU the layers before the branches part, and the head, work on strips of rows with a border of the rows that
  their convolutions read beside. Maps of all channels at stride 4 never exist whole, except the features of the head
  where they are small: of a large image they are made again where they are needed. An enlarged image is never whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from autolabel.inference.branch_convs import (
    TILE,
    ConcatConv,
    PointwiseBranchConv,
    Rows,
    SpatialBranchConv,
    conv_with,
)
from autolabel.inference.fused_convs import onto
from autolabel.models.fusion.hierarchical import ScaleAttention
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.layers import at_least_float32, without_autocast
from autolabel.models.lazy_rows import LazyLeaf, LazyMap
from autolabel.models.resize import resize
from autolabel.models.trunks import Trunk
from autolabel.models.trunks.hrnet import HRNet

_STRIP_VALUES = 1 << 25  # values of the widest map of a strip: 128 MiB; in lower strips more rows are computed twice
_HEAD_STRIP_VALUES = 1 << 22  # less, because the head computes hardly any row twice
_KEPT_PIXELS = 1 << 20  # at stride 4: images of up to 16 megapixels keep the features of the head


def strips_of(height: int, values_per_row: int, multiple: int, values: int) -> list[Rows]:
    """Strips of up to `values` values, of a height that is a multiple of `multiple` rows."""
    rows = max(1, values // values_per_row // multiple) * multiple
    return [Rows(top, min(top + rows, height)) for top in range(0, height, rows)]


def _head_strips(height: int, values_per_row: int) -> list[Rows]:
    return strips_of(height, values_per_row, TILE, values=_HEAD_STRIP_VALUES)


def by_strips(function: Callable[[Rows], Tensor], strips: Sequence[Rows]) -> Tensor:
    """The results (B, C, rows, w) for all strips, one below the other, channels last."""
    first = function(strips[0])
    if len(strips) == 1:
        return first
    batch, channels, _, width = first.shape
    size = batch, channels, strips[-1].bottom, width
    whole = torch.empty(size, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)
    whole[:, :, : strips[0].bottom] = first
    for rows in strips[1:]:
        whole[:, :, rows.top : rows.bottom] = function(rows)
    return whole


class Decision(nn.Module):
    """A layer that gives logits or attention: it runs in float32 (or float64), whatever autocast says around it.

    Where two classes are nearly equal, a logit rounded to bfloat16 decides by chance.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x.device):
            output: Tensor = self.layer(at_least_float32(x))
        return output


class Branches(Trunk):
    """The branches of an HRNet, neither resized nor concatenated: (B, C_b, h_b, w_b), the finest first."""

    def __init__(self, trunk: HRNet, *, by_rows: bool) -> None:
        super().__init__()
        self.trunk, self.channels, self._by_rows = trunk, trunk.channels, by_rows
        self._values = max(4 * trunk.stem_channels, trunk.wide)  # of the widest map, for each pixel at stride 4
        # The rows at stride 4 that a row depends on, to either side: one for each 3x3 of stage 1, one for the
        # transition, one for the stem. Even, because the second branch has half the rows.
        self._border = (len(trunk.stage1) + 3) // 2 * 2

    def view(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """An enlarged image that is cut into strips is computed strip by strip."""
        enlarged = size[0] > images.shape[-2]
        lazily = self._by_rows and enlarged and len(self._strips(len(images), *size)) > 1
        return cast(Tensor, LazyLeaf(images).resized(size)) if lazily else resize(images, size)

    def forward(self, images: Tensor) -> list[Tensor]:
        strips = self._strips(images.shape[0], images.shape[-2], images.shape[-1]) if self._by_rows else []
        return self.trunk.later_branches(self._first(images, strips) if len(strips) > 1 else self.trunk.first(images))

    def _strips(self, batch: int, height: int, width: int) -> list[Rows]:
        """Strips of rows at stride 8."""
        return strips_of(-(-height // 8), 2 * batch * self._values * -(-width // 4), 1, values=_STRIP_VALUES)

    def _first(self, images: Tensor, strips: Sequence[Rows]) -> list[Tensor]:
        """`HRNet.first`, strip by strip."""
        height, border = -(-images.shape[-2] // 4), self._border
        whole: list[Tensor] = []
        for top, bottom in strips:
            low, high = max(0, 2 * top - border), min(height, 2 * bottom + border)
            found = self.trunk.first(_image_rows(images, 4 * low, min(images.shape[-2], 4 * high)))
            parts = [
                found[0][:, :, 2 * top - low : min(height, 2 * bottom) - low],
                found[1][:, :, top - low // 2 : bottom - low // 2],
            ]
            heights = height, strips[-1].bottom
            whole = whole or [_empty_like(part, rows) for part, rows in zip(parts, heights, strict=True)]
            for maps, part, start in zip(whole, parts, (2 * top, top), strict=True):
                maps[:, :, start : start + part.shape[2]] = part
        return whole


def _image_rows(images: Tensor, top: int, bottom: int) -> Tensor:
    if isinstance(images, LazyMap):
        with without_autocast(images.like.device):  # resized in float32, as an image of one strip is
            rows = images.rows(top, bottom)
    else:
        rows = images[:, :, top:bottom]
    return rows.contiguous(memory_format=torch.channels_last)


def _empty_like(part: Tensor, height: int) -> Tensor:
    batch, channels, _, width = part.shape
    size = batch, channels, height, width
    return torch.empty(size, dtype=part.dtype, device=part.device, memory_format=torch.channels_last)


class OptimizedOCR(Head):
    """OCR on branches of `channels` channels. The norms of `head` must be folded into its convolutions already.

    `split`: form the products of the 3x3 convolution at each branch's own resolution; faster on CPUs. `by_rows`: work
    on strips; the features of large images are then a `LazyMap`. Labelling reads no auxiliary logits: there are none.
    """

    def __init__(self, head: OCRHead, channels: Sequence[int], *, split: bool, by_rows: bool = False) -> None:
        super().__init__()
        self.channels, self.stride = head.channels, head.stride
        spatial = SpatialBranchConv if split else ConcatConv
        self.pixels = spatial(head.pixels.conv, channels)
        self.aux = PointwiseBranchConv(head.aux.conv, channels)
        self.aux_classifier, self.classifier = head.aux_classifier, head.classifier
        self.context = head.context
        context_weight, feature_weight = head.merge.conv.weight.detach().split(head.channels, dim=1)
        self.merge_context = conv_with(context_weight)
        self.merge_features = conv_with(feature_weight, head.merge.conv.bias)
        self._by_rows, self._values = by_rows, max(head.channels, sum(channels))

    def forward(self, branches: Sequence[Tensor]) -> HeadOutput:
        batch, _, height, width = branches[0].shape
        strips = _head_strips(height, batch * width * self._values) if self._by_rows else [Rows(0, height)]
        if len(strips) > 1 and batch * height * width > _KEPT_PIXELS:
            return self._twice(branches, strips)
        features = by_strips(lambda rows: self._pixels(branches, rows), strips)
        regions = self._regions(branches, strips)
        vectors = self._class_vectors(regions.to(features.dtype) @ _pixel_vectors(features))
        del regions

        def logits(rows: Rows) -> Tensor:
            """Leaves the merged features in the place of the features."""
            strip = features[:, :, rows.top : rows.bottom]
            strip.copy_(self._merged(strip, *vectors))
            return cast(Tensor, self.classifier(strip))

        return HeadOutput(features, by_strips(logits, strips), None)

    def _twice(self, branches: Sequence[Tensor], strips: Sequence[Rows]) -> HeadOutput:
        """Without keeping the features: made for the class vectors, and again for the logits."""
        width = branches[0].shape[-1]
        regions = self._regions(branches, strips)
        total = regions.new_zeros((len(regions), regions.shape[1], self.channels))
        for top, bottom in strips:
            features = self._pixels(branches, Rows(top, bottom))
            total += regions[:, :, top * width : bottom * width].to(features.dtype) @ _pixel_vectors(features)
        vectors = self._class_vectors(total)
        del regions, features

        def merged(rows: Rows) -> Tensor:
            return self._merged(self._pixels(branches, rows), *vectors)

        logits = by_strips(lambda rows: self.classifier(merged(rows)), strips)
        size = len(logits), self.channels, *logits.shape[2:]
        return HeadOutput(cast(Tensor, MadeRows(merged, size, branches[0])), logits, None)

    def _regions(self, branches: Sequence[Tensor], strips: Sequence[Rows]) -> Tensor:
        """Weights (B, K, h w) of the pixels, with sum 1 over each class: where the class lies."""
        aux = by_strips(lambda rows: cast(Tensor, self.aux_classifier(torch.relu_(self.aux(branches, rows)))), strips)
        return aux.flatten(2).softmax(dim=-1)

    def _pixels(self, branches: Sequence[Tensor], rows: Rows) -> Tensor:
        """Features (B, C, rows, w)."""
        found: Tensor = torch.relu_(self.pixels(branches, rows))
        return found.to(branches[0].dtype)

    def _class_vectors(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean features (B, K, C) -> keys (B, D, K) and the contexts (B, C, K) of the classes."""
        maps = classes.transpose(1, 2).unsqueeze(-1)  # (B, C, K, 1)
        key = self.context.object(maps).flatten(2)
        return key, self.context.up.conv(self.context.value(maps)).flatten(2)

    def _merged(self, features: Tensor, key: Tensor, vectors: Tensor) -> Tensor:
        """Equal to `ObjectContext` and the convolution after it: (B, C, rows, w)."""
        query = self.context.pixel(features)  # (B, D, rows, w)
        with without_autocast(features.device):
            pixels = at_least_float32(query).flatten(2).transpose(1, 2)
            similarity = pixels @ at_least_float32(key) * self.context.scale  # (B, rows w, K)
            weights = similarity.softmax(dim=-1).to(vectors.dtype)
        context = torch.relu_(weights @ vectors.transpose(1, 2))  # (B, rows w, C)
        merged = cast(Tensor, self.merge_features(features))
        return onto(self.merge_context, context.transpose(1, 2).unflatten(2, query.shape[-2:]), merged, relu=True)


def _pixel_vectors(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C)"""
    return features.flatten(2).transpose(1, 2)


class MadeRows(LazyMap):
    """Rows that are made by a function when they are asked for."""

    def __init__(self, make: Callable[[Rows], Tensor], size: tuple[int, int, int, int], like: Tensor) -> None:
        self._make, self.shape, self.like = make, size, like

    def rows(self, top: int, bottom: int) -> Tensor:
        return self._make(Rows(top, bottom))


class AttentionByRows(nn.Module):
    """The attention of a scale; from features that are made by rows, in strips with the rows that two 3x3 read."""

    def __init__(self, attention: ScaleAttention) -> None:
        super().__init__()
        self.first, self.second, self.last = attention.first, attention.second, attention.last

    def forward(self, features: Tensor) -> Tensor:
        if not isinstance(features, LazyMap):
            return self._of(features)
        batch, channels, height, width = features.shape

        def attention(rows: Rows) -> Tensor:
            low, high = max(0, rows.top - 2), min(height, rows.bottom + 2)
            return self._of(features.rows(low, high))[:, :, rows.top - low : rows.bottom - low]

        return by_strips(attention, _head_strips(height, batch * channels * width))

    def _of(self, features: Tensor) -> Tensor:
        return torch.sigmoid(at_least_float32(self.last(self.second(self.first(features)))))
