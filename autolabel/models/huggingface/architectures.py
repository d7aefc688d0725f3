"""The architectures of the transformers library that can be teachers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from autolabel.models.huggingface.prompts import ask_sam3
from autolabel.models.huggingface.scores import Logits, Output, Queries
from autolabel.models.layers import MEAN, STD

# "<start> the task is seman tic <end>" in the vocabulary of CLIP, which every published OneFormer uses; zero-padded.
_SEMANTIC_TASK = (49406, 518, 10549, 533, 29119, 1550, 49407)


@dataclass(frozen=True)
class Architecture:
    """`run` takes the library's network, normalised images (B, 3, h, w), and the token ids of prompts if it has any."""

    title: str
    model: str  # the class in transformers
    run: Callable[..., Output]
    queries: bool = False  # proposes segments instead of classifying pixels
    windowed: bool = False  # accepts one square size only (`image_size`), so larger images are split into windows
    squashed: bool = False  # windowed; at scale 1, a single window shows the whole image, whatever its shape
    prompted: bool = False  # finds what a prompt names, so its classes are those that it is asked for
    size_divisor: int = 32  # if not windowed, height and width of an image must be multiples of this
    trainable: bool = False
    mean: tuple[float, float, float] = MEAN  # default for folders without a preprocessor config
    std: tuple[float, float, float] = STD


def _logits(network: Any, images: torch.Tensor) -> Logits:
    return Logits(network(pixel_values=images).logits)


def _upernet(network: Any, images: torch.Tensor) -> Logits:
    """Runs the modules, because the library's own forward computes the auxiliary logits and drops them."""
    features = network.backbone(images).feature_maps
    auxiliary = network.auxiliary_head if network.training else None
    return Logits(network.decode_head(features), None if auxiliary is None else auxiliary(features))


def _queries(network: Any, images: torch.Tensor, **inputs: torch.Tensor) -> Queries:
    output = network(pixel_values=images, **inputs)
    return Queries(output.class_queries_logits, output.masks_queries_logits)


def semantic_task(network: Any) -> torch.Tensor:
    """(1, L) int64: the token ids by which a OneFormer is asked for a semantic segmentation."""
    length = network.config.task_seq_len
    return torch.tensor([[*_SEMANTIC_TASK, *[0] * length][:length]], device=network.device)


def _oneformer(network: Any, images: torch.Tensor) -> Queries:
    return _queries(network, images, task_inputs=semantic_task(network).expand(len(images), -1))


_HALF = (0.5, 0.5, 0.5)

ARCHITECTURES: dict[str, Architecture] = {
    "segformer": Architecture("SegFormer", "SegformerForSemanticSegmentation", _logits, size_divisor=1, trainable=True),
    "upernet": Architecture("UperNet", "UperNetForSemanticSegmentation", _upernet, trainable=True),
    "beit": Architecture("BEiT", "BeitForSemanticSegmentation", _logits, windowed=True, mean=_HALF, std=_HALF),
    "mask2former": Architecture("Mask2Former", "Mask2FormerForUniversalSegmentation", _queries, queries=True),
    "oneformer": Architecture("OneFormer", "OneFormerForUniversalSegmentation", _oneformer, queries=True),
    "eomt": Architecture("EoMT", "EomtForUniversalSegmentation", _queries, queries=True, windowed=True),
    "eomt_dinov3": Architecture(
        "EoMT-DINOv3", "EomtDinov3ForUniversalSegmentation", _queries, queries=True, windowed=True
    ),
    "sam3": Architecture(
        "SAM 3",
        "Sam3Model",
        ask_sam3,
        queries=True,
        windowed=True,
        squashed=True,
        prompted=True,
        mean=_HALF,
        std=_HALF,
    ),
}

# Backbones of UperNet, Mask2Former and OneFormer, by their model_type.
BACKBONES: dict[str, str] = {
    "beit": "BeitConfig",
    "convnext": "ConvNextConfig",
    "convnextv2": "ConvNextV2Config",
    "dinov2": "Dinov2Config",
    "dinov2_with_registers": "Dinov2WithRegistersConfig",
    "dinov3_convnext": "DINOv3ConvNextConfig",
    "dinov3_vit": "DINOv3ViTConfig",
    "hgnet_v2": "HGNetV2Config",
    "resnet": "ResNetConfig",
    "swin": "SwinConfig",
}

# Parts of a network whose config is a table of its own, by the key of that table.
PARTS: dict[str, str] = {
    "vision_config": "Sam3VisionConfig",
    "text_config": "CLIPTextConfig",
    "geometry_encoder_config": "Sam3GeometryEncoderConfig",
    "detr_encoder_config": "Sam3DETREncoderConfig",
    "detr_decoder_config": "Sam3DETRDecoderConfig",
    "mask_decoder_config": "Sam3MaskDecoderConfig",
}

# Backbones of parts, by their model_type.
PART_BACKBONES: dict[str, str] = {"sam3_vit_model": "Sam3ViTConfig"}

# Backbones whose maps all have one size: the image divided by the patch size.
PLAIN_BACKBONES = frozenset({"beit", "dinov2", "dinov2_with_registers", "dinov3_vit"})
