"""Key maps of the published DeepLab heads (NVIDIA/semantic-segmentation)."""

from __future__ import annotations

from autolabel.models.published.rows import conv_norms

# The dilated branches follow the 1x1 in one list there.
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

# `deeper.*`, which calls its trunk `trunk`
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
