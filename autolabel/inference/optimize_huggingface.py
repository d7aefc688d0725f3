"""Optimizes a network of the transformers library for inference: the same function with fewer operations.

- SegFormer: `inference.optimize_segformer`.
- UperNet and BEiT: norms are folded into the convolutions before them, and the 3x3 convolution over all branches forms
  its products at each branch's own resolution (`inference.branch_convs.SpatialBranchConv`). No auxiliary head runs.
- Mask2Former: the attention mask of each decoder layer is a mask resized to 1/8, 1/16 or 1/32 of the
  image. The features are resized before the product with the queries, and only the last layer computes masks at 1/4.
- OneFormer: `inference.optimize_oneformer`. EoMT: `inference.optimize_eomt`.

The state dict of an optimized copy has other keys, so it is not for saving.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from autolabel.inference.branch_convs import ConcatConv, SpatialBranchConv
from autolabel.inference.folding import folded
from autolabel.inference.onednn import prefer_onednn
from autolabel.inference.optimize_eomt import optimize_eomt, run_eomt
from autolabel.inference.optimize_hrnet import Decision
from autolabel.inference.optimize_oneformer import optimize_oneformer, run_oneformer
from autolabel.inference.optimize_segformer import optimize_segformer
from autolabel.inference.query_masks import mask_logits
from autolabel.inference.winograd import use_winograd
from autolabel.models.huggingface import HuggingFaceModel
from autolabel.models.huggingface.architectures import PLAIN_BACKBONES
from autolabel.models.huggingface.scores import Queries
from autolabel.models.resize import resize


def prepare_huggingface(
    model: HuggingFaceModel, device: torch.device | str = "cpu", *, as_on: str | None = None
) -> HuggingFaceModel:
    """A copy in eval mode on `device`; `model` stays as it is. On a CPU, its products run by oneDNN.

    `as_on`: the kind of device whose form it takes, where memory is counted on the meta device.
    """
    prepared = copy.deepcopy(model).eval().requires_grad_(False)
    device = torch.device(device)
    on_cpu = (as_on or device.type) == "cpu"
    optimize = _OPTIMIZE.get(prepared.network.config.model_type)
    if optimize is not None:
        with torch.no_grad():
            optimize(prepared, on_cpu)
    if on_cpu:
        with torch.no_grad():
            use_winograd(prepared)
    if device.type == "cpu":
        prefer_onednn(prepared)
    return prepared.to(device)


class UperDecoder(nn.Module):
    """In the place of transformers' `UperNetHead` or `BeitUperHead`: maps (B, C_b, h_b, w_b) -> logits (B, L, h, w).

    `split`: the maps have different sizes, and products at the size of each are faster on this device.
    """

    def __init__(self, head: Any, bottleneck: Any, *, split: bool) -> None:
        super().__init__()
        pools, channels = head.psp_modules.blocks, head.channels
        self.pools = nn.ModuleList(nn.Sequential(*block.children()) for block in pools)
        spatial = SpatialBranchConv if split else ConcatConv
        self.bottleneck = spatial(_conv_of(bottleneck), [head.in_channels[-1], *[channels] * len(pools)])
        self.lateral = nn.ModuleList(_with_relu(layer) for layer in head.lateral_convs)
        self.smooth = nn.ModuleList(_with_relu(layer) for layer in head.fpn_convs)
        self.fuse = spatial(_conv_of(head.fpn_bottleneck), [channels] * len(head.in_channels))
        self.classifier = Decision(head.classifier)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *finer, coarsest = maps
        pooled = [coarsest, *(pool(coarsest) for pool in self.pools)]
        levels = [torch.relu_(self.bottleneck(pooled))]  # the coarsest first
        for layer, x in zip(reversed(list(self.lateral)), reversed(finer), strict=True):
            lateral = layer(x)
            levels.append(lateral + resize(levels[-1], (lateral.shape[-2], lateral.shape[-1])))
        smooth = [layer(x) for layer, x in zip(self.smooth, reversed(levels[1:]), strict=True)]
        output: Tensor = self.classifier(torch.relu_(self.fuse([*smooth, levels[0]])))
        return output


class MaskPredictor(nn.Module):
    """In the place of transformers' `Mask2FormerMaskPredictor`: the attention mask, and instead of masks the query
    vectors (B, Q, C) whose products with the features are the masks."""

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.embedder, self.num_heads = predictor.mask_embedder, predictor.num_heads

    def forward(self, hidden: Tensor, features: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        vectors = self.embedder(hidden.transpose(0, 1))
        return vectors, attention_mask(vectors, features, size, self.num_heads)


def attention_mask(vectors: Tensor, features: Tensor, size: tuple[int, int], num_heads: int) -> Tensor:
    """(B heads, Q, h w) bool: where the mask of a query is negative at `size`.

    Vectors (B, Q, C), features (B, C, H, W).
    """
    outside = mask_logits(vectors, resize(features, size)).flatten(2) < 0
    return outside.repeat_interleave(num_heads, dim=0)


def _optimize_segformer(model: HuggingFaceModel, on_cpu: bool) -> None:
    optimize_segformer(model.network, by_rows=on_cpu)


def _optimize_upernet(model: HuggingFaceModel, on_cpu: bool) -> None:
    network = model.network
    network.auxiliary_head = None
    split = on_cpu and network.config.backbone_config.model_type not in PLAIN_BACKBONES
    network.decode_head = UperDecoder(network.decode_head, network.decode_head.bottleneck, split=split)


def _optimize_beit(model: HuggingFaceModel, on_cpu: bool) -> None:
    network = model.network
    network.auxiliary_head = None
    network.decode_head = UperDecoder(network.decode_head, network.decode_head.psp_bottleneck, split=on_cpu)


def _optimize_mask2former(model: HuggingFaceModel, on_cpu: bool) -> None:
    decoder = model.network.model.transformer_module.decoder
    decoder.mask_predictor = MaskPredictor(decoder.mask_predictor)
    model.network.class_predictor = Decision(model.network.class_predictor)
    model.architecture = replace(model.architecture, run=_mask2former)


def _optimize_oneformer(model: HuggingFaceModel, on_cpu: bool) -> None:
    optimize_oneformer(model.network)
    model.architecture = replace(model.architecture, run=run_oneformer)


def _optimize_eomt(model: HuggingFaceModel, on_cpu: bool) -> None:
    if optimize_eomt(model.network):
        model.architecture = replace(model.architecture, run=run_eomt)


def _mask2former(network: Any, images: Tensor) -> Queries:
    output = network(pixel_values=images)
    masks = mask_logits(output.masks_queries_logits, output.pixel_decoder_last_hidden_state)
    return Queries(output.class_queries_logits, masks)


_OPTIMIZE: dict[str, Callable[[HuggingFaceModel, bool], None]] = {
    "segformer": _optimize_segformer,
    "upernet": _optimize_upernet,
    "beit": _optimize_beit,
    "mask2former": _optimize_mask2former,
    "oneformer": _optimize_oneformer,
    "eomt": _optimize_eomt,
    "eomt_dinov3": _optimize_eomt,
}


def _conv_of(layer: Any) -> nn.Conv2d:
    """The convolution of a convolution-norm-ReLU layer, with the norm folded in."""
    conv, norm, _ = layer.children()
    return folded(conv, norm)


def _with_relu(layer: Any) -> nn.Sequential:
    return nn.Sequential(_conv_of(layer).to(memory_format=torch.channels_last), nn.ReLU(inplace=True))  # type: ignore[call-overload]  # no stub
