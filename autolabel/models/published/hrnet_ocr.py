"""Key map of the published HRNet + OCR checkpoints: NVIDIA/semantic-segmentation `ocrnet.HRNet_Mscale`, `ocrnet.HRNet`.

Every convolution and its batch norm are two entries there; here they are one `ConvNorm`. In the heads the batch norm
sits one level deeper (`.1.0`), because there it is paired with its ReLU.
"""

from __future__ import annotations

CONTEXT = "ocr.ocr_distri_head.object_context_block"

# Pattern of a ConvNorm of ours -> its convolution, its batch norm. The first pattern that fits the whole path counts.
CONV_NORMS = (
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
    (r"head\.pixels", r"ocr.conv3x3_ocr.0", r"ocr.conv3x3_ocr.1.0"),
    (r"head\.context\.(pixel|object)\.0", rf"{CONTEXT}.f_\1.0", rf"{CONTEXT}.f_\1.1.0"),
    (r"head\.context\.(pixel|object)\.1", rf"{CONTEXT}.f_\1.2", rf"{CONTEXT}.f_\1.3.0"),
    (r"head\.context\.value", rf"{CONTEXT}.f_down.0", rf"{CONTEXT}.f_down.1.0"),
    (r"head\.context\.up", rf"{CONTEXT}.f_up.0", rf"{CONTEXT}.f_up.1.0"),
    (r"head\.merge", r"ocr.ocr_distri_head.conv_bn_dropout.0", r"ocr.ocr_distri_head.conv_bn_dropout.1.0"),
    (r"head\.aux", r"ocr.aux_head.0", r"ocr.aux_head.1.0"),
    (r"attention\.first", r"scale_attn.conv0", r"scale_attn.bn0"),
    (r"attention\.second", r"scale_attn.conv1", r"scale_attn.bn1"),
)

# Bare convolutions.
READOUTS = {
    "head.classifier": "ocr.cls_head",
    "head.aux_classifier": "ocr.aux_head.2",
    "attention.last": "scale_attn.conv2",
}
