"""Key map of the published OCR head: NVIDIA/semantic-segmentation `ocrnet.HRNet_Mscale`, `ocrnet.HRNet`.

The batch norm sits one level deeper (`.1.0`) than in the trunk, because here it is paired with its ReLU.
"""

from __future__ import annotations

from autolabel.models.published.rows import conv_norms

CONTEXT = "ocr.ocr_distri_head.object_context_block"

HEAD = (
    *conv_norms(
        (r"head\.pixels", r"ocr.conv3x3_ocr.0", r"ocr.conv3x3_ocr.1.0"),
        (r"head\.context\.(pixel|object)\.0", rf"{CONTEXT}.f_\1.0", rf"{CONTEXT}.f_\1.1.0"),
        (r"head\.context\.(pixel|object)\.1", rf"{CONTEXT}.f_\1.2", rf"{CONTEXT}.f_\1.3.0"),
        (r"head\.context\.value", rf"{CONTEXT}.f_down.0", rf"{CONTEXT}.f_down.1.0"),
        (r"head\.context\.up", rf"{CONTEXT}.f_up.0", rf"{CONTEXT}.f_up.1.0"),
        (r"head\.merge", r"ocr.ocr_distri_head.conv_bn_dropout.0", r"ocr.ocr_distri_head.conv_bn_dropout.1.0"),
        (r"head\.aux", r"ocr.aux_head.0", r"ocr.aux_head.1.0"),
    ),
    (r"head\.classifier", r"ocr.cls_head"),
    (r"head\.aux_classifier", r"ocr.aux_head.2"),
)
