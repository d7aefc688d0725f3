"""SegFormer for inference: the same function with fewer operations, on a CPU strip by strip.

- The decoder's linear layers, the 1x1 convolution over all branches and its norm become one linear layer per branch.
  Resizing commutes with it, so each branch is multiplied at its own resolution, resized after, and added.
- A convolution that reduces the keys has a stride equal to its kernel, so it is a linear layer over patches.
- On a CPU, the wide maps (the hidden layer of each block, and of the decoder) exist for a strip of rows only. Such a
  strip stays in the cache, and the depthwise convolution keeps channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from autolabel.inference.branch_convs import PointwiseBranchConv, Rows, conv_with
from autolabel.inference.folding import folded
from autolabel.inference.optimize_hrnet import Decision, by_strips, strips_of

# Values of the widest map of a strip: 4 and 16 MiB in float32, which a cache holds. In lower strips of the decoder,
# more rows of the coarse branches are multiplied twice.
_BLOCK_STRIP, _DECODER_STRIP = 1 << 20, 1 << 22


def optimize_segformer(network: Any, *, by_rows: bool) -> None:
    """Change transformers' `SegformerForSemanticSegmentation` in place; `by_rows`: work on strips of rows."""
    for layer in (block for stage in network.segformer.stages for block in stage.blocks):
        layer.mlp = MixMLP(layer.mlp, by_rows=by_rows)
        if layer.attention.sequence_reduction_ratio > 1:
            layer.attention.sequence_reduction = SequenceReduction(layer.attention.sequence_reduction)
    if network.config.reshape_last_stage:
        network.decode_head = SegformerDecoder(network.decode_head, by_rows=by_rows)


class MixMLP(nn.Module):
    """In the place of transformers' `SegformerMixMLP`: linear, 3x3 depthwise convolution, activation, linear."""

    def __init__(self, mlp: Any, *, by_rows: bool) -> None:
        super().__init__()
        self.widen, self.narrow, self.activation, self._by_rows = mlp.fc1, mlp.fc2, mlp.activation_fn, by_rows
        self.depthwise = mlp.dwconv.dwconv.to(memory_format=torch.channels_last)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """(B, h w, C) -> (B, h w, C)."""
        maps = tokens.unflatten(1, (height, width))
        values = len(tokens) * width * self.widen.out_features
        strips = strips_of(height, values, 4, _BLOCK_STRIP) if self._by_rows else [Rows(0, height)]
        return torch.cat([self._rows(maps, rows) for rows in strips], dim=1).flatten(1, 2)

    def _rows(self, maps: Tensor, rows: Rows) -> Tensor:
        """Some rows (B, rows, w, C) of the result; the convolution reads a row above and one below them."""
        low, high = max(0, rows.top - 1), min(maps.shape[1], rows.bottom + 1)
        hidden = self.depthwise(self.widen(maps[:, low:high]).permute(0, 3, 1, 2))
        hidden = hidden[:, :, rows.top - low : rows.bottom - low].permute(0, 2, 3, 1)
        output: Tensor = self.narrow(self.activation(hidden))
        return output


class SequenceReduction(nn.Module):
    """In the place of transformers' `SegformerSequenceReduction`: patches (r, r) become one token each, then a norm."""

    def __init__(self, reduction: Any) -> None:
        super().__init__()
        conv = reduction.sequence_reduction
        self.ratio, self.norm = conv.kernel_size[0], reduction.layer_norm
        assert conv.kernel_size == conv.stride == (self.ratio, self.ratio), conv
        self.patch = nn.Linear(conv.in_channels * self.ratio**2, conv.out_channels, device="meta")
        self.patch.weight = nn.Parameter(conv.weight.detach().permute(0, 2, 3, 1).flatten(1), requires_grad=False)
        self.patch.bias = conv.bias

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """(B, h w, C) -> (B, (h // r) (w // r), C)."""
        rows, columns = height // self.ratio, width // self.ratio
        maps = tokens.unflatten(1, (height, width))[:, : rows * self.ratio, : columns * self.ratio]
        patches = maps.unflatten(2, (columns, self.ratio)).unflatten(1, (rows, self.ratio)).transpose(2, 3)
        output: Tensor = self.norm(self.patch(patches.flatten(3).flatten(1, 2)))
        return output


class SegformerDecoder(nn.Module):
    """In the place of transformers' `SegformerDecodeHead`: encoder maps (B, C_b, h_b, w_b) -> logits (B, L, h, w)."""

    def __init__(self, head: Any, *, by_rows: bool) -> None:
        super().__init__()
        fused = folded(head.linear_fuse, head.batch_norm)
        self._by_rows, self._channels = by_rows, int(fused.out_channels)
        assert fused.bias is not None
        parts = fused.weight.detach().flatten(1).double().split(fused.out_channels, dim=1)[::-1]  # coarsest first
        layers = [branch.proj for branch in head.linear_projections]
        weights = [part @ layer.weight.double() for part, layer in zip(parts, layers, strict=True)]
        biases = [part @ layer.bias.double() for part, layer in zip(parts, layers, strict=True)]
        weight, bias = torch.cat(weights, dim=1)[:, :, None, None], fused.bias.double() + torch.stack(biases).sum(0)
        dtype = fused.weight.dtype  # in float64 so far, so that a weight is rounded once
        joined = conv_with(weight.to(dtype), bias.to(dtype))
        self.branches = PointwiseBranchConv(joined, [layer.in_features for layer in layers])
        self.classifier = Decision(head.classifier.to(memory_format=torch.channels_last))

    def forward(self, maps: Sequence[Tensor], **options: Any) -> Tensor:
        batch, _, height, width = maps[0].shape
        values = batch * width * self._channels
        strips = strips_of(height, values, 4, _DECODER_STRIP) if self._by_rows else [Rows(0, height)]
        return by_strips(lambda rows: cast(Tensor, self.classifier(self.branches(maps, rows).relu_())), strips)
