"""Tiny random Hugging Face models, saved to disk as their library saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

transformers = pytest.importorskip("transformers", reason="needs the extra hf")
pytest.importorskip("scipy", reason="needs the extra hf")

import torch  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()

NAMES = ("road", "sidewalk", "car", "sky", "tree")
_STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
_PYRAMID = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], **_STAGES}
_PLAIN = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 32, **_STAGES}
_MASKS = {
    "num_queries": 6,
    "encoder_feedforward_dim": 16,
    "dim_feedforward": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "hidden_dim": 32,
}
_MASK2FORMER = {"feature_size": 32, "mask_feature_size": 32, **_MASKS}
_ONEFORMER = {
    "conv_dim": 32,
    "mask_dim": 32,
    "query_dec_layers": 1,
    "text_encoder_width": 16,
    "text_encoder_num_layers": 1,
    "text_encoder_vocab_size": 99,
    **_MASKS,
}
_EOMT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "num_blocks": 1,
    "num_queries": 5,
}
_SEGFORMER = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 16,
}
_BEIT = {
    **_PLAIN,
    "out_features": None,
    "out_indices": [1, 2, 3, 4],
    "intermediate_size": 16,
    "use_relative_position_bias": True,
    "auxiliary_channels": 8,
}
BACKBONES: dict[str, dict[str, Any]] = {
    "swin": {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2], "window_size": 4, "image_size": 32}
    | _STAGES,
    "resnet": {"embedding_size": 8, "layer_type": "basic", **_PYRAMID},
    "convnext": _PYRAMID,
    "convnextv2": _PYRAMID,
    "dinov3_convnext": _PYRAMID,
    "dinov3_vit": {"intermediate_size": 16, "patch_size": 16, **_PLAIN},
    "dinov2": {"patch_size": 14, **_PLAIN},
    "dinov2_with_registers": {"patch_size": 14, **_PLAIN},
    "beit": {"intermediate_size": 16, "patch_size": 16, **_PLAIN},
    "hgnet_v2": {
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8] * 4,
        "stage_mid_channels": [8] * 4,
        "stage_out_channels": [8] * 4,
        "stage_num_blocks": [1] * 4,
        "stage_numb_of_layers": [1] * 4,
        "embedding_size": 8,
        **_PYRAMID,
        "hidden_sizes": [8] * 4,
    },
}
# name -> (class, config, settings, backbone)
MODELS: dict[str, tuple[str, str, dict[str, Any], str | None]] = {
    "segformer": ("SegformerForSemanticSegmentation", "SegformerConfig", _SEGFORMER, None),
    "beit": ("BeitForSemanticSegmentation", "BeitConfig", _BEIT, None),
    "eomt": ("EomtForUniversalSegmentation", "EomtConfig", _EOMT, None),
    "eomt_dinov3": (
        "EomtDinov3ForUniversalSegmentation",
        "EomtDinov3Config",
        {**_EOMT, "intermediate_size": 16},
        None,
    ),
    "mask2former": ("Mask2FormerForUniversalSegmentation", "Mask2FormerConfig", _MASK2FORMER, "swin"),
    "mask2former-resnet": ("Mask2FormerForUniversalSegmentation", "Mask2FormerConfig", _MASK2FORMER, "resnet"),
    "mask2former-dinov3": ("Mask2FormerForUniversalSegmentation", "Mask2FormerConfig", _MASK2FORMER, "dinov3_convnext"),
    "oneformer": ("OneFormerForUniversalSegmentation", "OneFormerConfig", _ONEFORMER, "swin"),
    "oneformer-convnext": ("OneFormerForUniversalSegmentation", "OneFormerConfig", _ONEFORMER, "convnext"),
    **{
        f"upernet-{backbone}": (
            "UperNetForSemanticSegmentation",
            "UperNetConfig",
            {"hidden_size": 16, "auxiliary_channels": 8},
            backbone,
        )
        for backbone in BACKBONES
    },
}


def build(kind: str, names: tuple[str, ...] = NAMES, **changes: Any) -> Any:
    """The library's network in eval mode, with weights that make its classes differ from pixel to pixel."""
    model, config, settings, backbone = MODELS[kind]
    if backbone is not None:
        settings = {**settings, "backbone_config": {"model_type": backbone, **BACKBONES[backbone]}}
    torch.manual_seed(1)
    labels = dict(enumerate(names))
    network = getattr(transformers, model)(getattr(transformers, config)(**{**settings, "id2label": labels, **changes}))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and "classifier" in name:
                weight.normal_(std=2.0)
            elif weight.ndim > 1:
                weight.normal_(std=0.2)
    return network.eval()


def save(folder: Path, kind: str, names: tuple[str, ...] = NAMES, **changes: Any) -> Path:
    """A folder as `save_pretrained` writes it."""
    build(kind, names, **changes).save_pretrained(folder)
    return folder


_DETR = {"hidden_size": 16, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
_SAM3: dict[str, Any] = {
    "vision_config": {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": 16,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "window_size": 2,
            "global_attn_indexes": [1],
            "pretrain_image_size": 32,
        },
    },
    "text_config": {
        "model_type": "clip_text_model",
        "vocab_size": 16,
        "hidden_size": 16,
        "intermediate_size": 16,
        "projection_dim": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "geometry_encoder_config": _DETR,
    "detr_encoder_config": _DETR,
    "detr_decoder_config": {**_DETR, "num_queries": 5},
    "mask_decoder_config": {"hidden_size": 16, "num_attention_heads": 2},
}
WORDS = ("<start>", "<end>", "unknown", "road", "sky", "car", "a", "red", "traffic", "light")


def build_sam3() -> Any:
    """A network that is asked by text, whose claims differ from query to query, prompt to prompt and pixel to pixel."""
    torch.manual_seed(5)
    network = transformers.Sam3Model(transformers.Sam3Config(**_SAM3))
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.5)
    return network.eval()


def save_sam3(folder: Path) -> Path:
    """Its folder, with a tokenizer of the words `WORDS`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    build_sam3().save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="unknown"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", 0), ("<end>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
