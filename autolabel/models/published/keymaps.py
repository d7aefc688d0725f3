"""Key maps from the module names of this project to those of NVIDIA/semantic-segmentation.

A key map is a tuple of rows (pattern of a layer's path in our network, its published name).
"""

from __future__ import annotations

import re
from collections.abc import Callable

Row = tuple[str, str]
AnyRow = tuple[str, str | Callable[[re.Match[str]], str]]  # the name, or a function from the match to the name


def conv_norms(*rows: tuple[str, str, str]) -> tuple[Row, ...]:
    """Rows from (pattern of a `ConvNorm`, name of its convolution, name of its batch norm)."""
    return tuple(row for path, conv, norm in rows for row in ((rf"{path}\.conv", conv), (rf"{path}\.norm", norm)))


# `basic.HRNet`
CONV_HEAD = (
    *conv_norms(
        (r"head\.classify\.first", r"seg_head.0", r"seg_head.1"),
        (r"head\.classify\.second", r"seg_head.3", r"seg_head.4"),
    ),
    (r"head\.classify\.last", r"seg_head.6"),
)


# `ocrnet.HRNet_Mscale`, `ocrnet.HRNet`; batch norms are one level deeper (`.1.0`), paired with their ReLU
OCR_CONTEXT = "ocr.ocr_distri_head.object_context_block"

OCR_HEAD = (
    *conv_norms(
        (r"head\.pixels", r"ocr.conv3x3_ocr.0", r"ocr.conv3x3_ocr.1.0"),
        (r"head\.context\.(pixel|object)\.0", rf"{OCR_CONTEXT}.f_\1.0", rf"{OCR_CONTEXT}.f_\1.1.0"),
        (r"head\.context\.(pixel|object)\.1", rf"{OCR_CONTEXT}.f_\1.2", rf"{OCR_CONTEXT}.f_\1.3.0"),
        (r"head\.context\.value", rf"{OCR_CONTEXT}.f_down.0", rf"{OCR_CONTEXT}.f_down.1.0"),
        (r"head\.context\.up", rf"{OCR_CONTEXT}.f_up.0", rf"{OCR_CONTEXT}.f_up.1.0"),
        (r"head\.merge", r"ocr.ocr_distri_head.conv_bn_dropout.0", r"ocr.ocr_distri_head.conv_bn_dropout.1.0"),
        (r"head\.aux", r"ocr.aux_head.0", r"ocr.aux_head.1.0"),
    ),
    (r"head\.classifier", r"ocr.cls_head"),
    (r"head\.aux_classifier", r"ocr.aux_head.2"),
)


# The published list holds the 1x1 and then the dilated branches.
ASPP = conv_norms(
    (r"head\.aspp\.point", r"aspp.features.0.0", r"aspp.features.0.1"),
    (r"head\.aspp\.dilated\.0", r"aspp.features.1.0", r"aspp.features.1.1"),
    (r"head\.aspp\.dilated\.1", r"aspp.features.2.0", r"aspp.features.2.1"),
    (r"head\.aspp\.dilated\.2", r"aspp.features.3.0", r"aspp.features.3.1"),
    (r"head\.aspp\.pooled", r"aspp.img_conv.0", r"aspp.img_conv.1"),
)

# `deepv3.*`, `mscale.*`, `attnscale.*`
DEEPLABV3PLUS = (
    *ASPP,
    (r"head\.low", r"bot_fine"),
    (r"head\.high", r"bot_aspp"),
    *conv_norms(
        (r"head\.classify\.first", r"final.0", r"final.1"),
        (r"head\.classify\.second", r"final.3", r"final.4"),
    ),
    (r"head\.classify\.last", r"final.6"),
)

# `deeper.*`, whose trunk is named `trunk`
DEEPER = (
    *ASPP,
    (r"head\.at_two", r"convs2"),
    (r"head\.at_four", r"convs4"),
    (r"head\.high", r"conv_up1"),
    *conv_norms(
        (r"head\.join_four", r"conv_up2.conv", r"conv_up2.bn"),
        (r"head\.join_two", r"conv_up3.conv", r"conv_up3.bn"),
    ),
    (r"head\.classifier", r"conv_up5"),
)


# `scale_attn.*` of the networks with attention
SCALE_ATTENTION = (
    *conv_norms(
        (r"attention\.first", r"scale_attn.conv0", r"scale_attn.bn0"),
        (r"attention\.second", r"scale_attn.conv1", r"scale_attn.bn1"),
    ),
    (r"attention\.last", r"scale_attn.conv2"),
)

EXPLICIT_ATTENTION = (
    (r"attention\.first", r"scale_attn.0"),
    (r"attention\.last", r"scale_attn.2"),
)


# WiderResNet-38 A2, also in its ImageNet checkpoint. Batch norms are one level deeper (`.0`), paired with their ReLU.
# Groups are numbered from 2, after the stem.
MOST_BLOCKS = 6  # in a group
WIDE_RESNET_LAYERS = {
    "norm": "bn1.0",
    "first": "convs.conv1",
    r"rest\.0\.norm": "convs.bn2.0",
    r"rest\.0\.conv": "convs.conv2",
    r"rest\.1\.norm": "convs.bn3.0",
    r"rest\.1\.conv": "convs.conv3",
    "project": "proj_conv",
}


def _wide_resnet_group(ours: int) -> tuple[Row, ...]:
    return tuple(
        (rf"trunk\.groups\.{ours}\.{i}\.{layer}", f"backbone.mod{ours + 2}.block{i + 1}.{theirs}")
        for i in range(MOST_BLOCKS)
        for layer, theirs in WIDE_RESNET_LAYERS.items()
    )


WIDE_RESNET = (
    (r"trunk\.stem", "backbone.mod1.conv1"),
    *(row for ours in range(6) for row in _wide_resnet_group(ours)),
)


# Xception-71. Published blocks are lists of ReLUs, separable convolutions and norms. The second norm of a separable
# convolution is the next entry of the block, and a block that starts with a ReLU is shifted by one.
XCEPTION_BLOCKS = 20
SHIFTED_FROM = 3  # blocks 1 and 2 do not start with a ReLU


def _separable(ours: str, theirs: str, norm: str) -> tuple[Row, ...]:
    return (
        (rf"{ours}\.depthwise", f"{theirs}.conv1"),
        (rf"{ours}\.norm", f"{theirs}.bn"),
        (rf"{ours}\.pointwise\.conv", f"{theirs}.pointwise"),
        (rf"{ours}\.pointwise\.norm", norm),
    )


def _xception_block(number: int) -> tuple[Row, ...]:
    ours, theirs = rf"trunk\.blocks\.{number - 1}", f"backbone.block{number}"
    places = [3 * step + (number >= SHIFTED_FROM) for step in range(3)]
    return (
        *conv_norms((rf"{ours}\.shortcut", f"{theirs}.skip", f"{theirs}.skipbn")),
        *(
            row
            for step, at in enumerate(places)
            for row in _separable(rf"{ours}\.steps\.{step}", f"{theirs}.rep.{at}", f"{theirs}.rep.{at + 1}")
        ),
    )


XCEPTION = (
    *conv_norms(
        (r"trunk\.stem\.0", "backbone.conv1", "backbone.bn1"),
        (r"trunk\.stem\.1", "backbone.conv2", "backbone.bn2"),
    ),
    *(row for number in range(1, XCEPTION_BLOCKS + 1) for row in _xception_block(number)),
    *(
        row
        for i in range(3)
        for row in _separable(rf"trunk\.last\.{i}", f"backbone.conv{i + 3}", f"backbone.bn{i + 3}")
    ),
)


HRNET = conv_norms(
    (r"trunk\.stem\.0", r"backbone.conv1", r"backbone.bn1"),
    (r"trunk\.stem\.1", r"backbone.conv2", r"backbone.bn2"),
    (r"trunk\.stage1\.(\d+)\.reduce", r"backbone.layer1.\1.conv1", r"backbone.layer1.\1.bn1"),
    (r"trunk\.stage1\.(\d+)\.spatial", r"backbone.layer1.\1.conv2", r"backbone.layer1.\1.bn2"),
    (r"trunk\.stage1\.(\d+)\.expand", r"backbone.layer1.\1.conv3", r"backbone.layer1.\1.bn3"),
    (r"trunk\.stage1\.(\d+)\.shortcut", r"backbone.layer1.\1.downsample.0", r"backbone.layer1.\1.downsample.1"),
    (r"trunk\.transition1\.0", r"backbone.transition1.0.0", r"backbone.transition1.0.1"),
    (r"trunk\.transition(\d)\.(\d)", r"backbone.transition\1.\2.0.0", r"backbone.transition\1.\2.0.1"),
    (r"trunk\.(stage\d\.\d\.branches\.\d\.\d)\.first", r"backbone.\1.conv1", r"backbone.\1.bn1"),
    (r"trunk\.(stage\d\.\d\.branches\.\d\.\d)\.second", r"backbone.\1.conv2", r"backbone.\1.bn2"),
    (r"trunk\.(stage\d\.\d)\.exchange\.([\d.]+)", r"backbone.\1.fuse_layers.\2.0", r"backbone.\1.fuse_layers.\2.1"),
)


RESNET_STAGES = {"0": "1", "1": "2", "2": "3", "3": "4"}  # our index -> the published number

RESNET_BLOCKS = conv_norms(
    *(
        (
            rf"trunk\.stages\.{ours}\.(\d+)\.{part}",
            rf"backbone.layer{theirs}.\1.{conv}",
            rf"backbone.layer{theirs}.\1.{norm}",
        )
        for ours, theirs in RESNET_STAGES.items()
        for part, conv, norm in (
            ("reduce", "conv1", "bn1"),
            ("spatial", "conv2", "bn2"),
            ("expand", "conv3", "bn3"),
            ("shortcut", "downsample.0", "downsample.1"),
        )
    ),
)

RESNET = (*conv_norms((r"trunk\.stem", r"backbone.layer0.0", r"backbone.layer0.1")), *RESNET_BLOCKS)
RESNET_IMAGENET = (
    *conv_norms((r"trunk\.stem", r"backbone.conv1", r"backbone.bn1")),
    *RESNET_BLOCKS,
)  # names in torchvision and timm, which differ in the stem
