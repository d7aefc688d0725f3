"""Key map of the published ResNets: NVIDIA/semantic-segmentation `backbone.*`; torchvision's, but for the stem."""

from __future__ import annotations

from autolabel.models.published.rows import conv_norms

STAGES = {"0": "1", "1": "2", "2": "3", "3": "4"}  # ours count from 0, theirs from 1

BLOCKS = conv_norms(
    *(
        (
            rf"trunk\.stages\.{ours}\.(\d+)\.{part}",
            rf"backbone.layer{theirs}.\1.{conv}",
            rf"backbone.layer{theirs}.\1.{norm}",
        )
        for ours, theirs in STAGES.items()
        for part, conv, norm in (
            ("reduce", "conv1", "bn1"),
            ("spatial", "conv2", "bn2"),
            ("expand", "conv3", "bn3"),
            ("shortcut", "downsample.0", "downsample.1"),
        )
    ),
)

TRUNK = (*conv_norms((r"trunk\.stem", r"backbone.layer0.0", r"backbone.layer0.1")), *BLOCKS)
IMAGENET = (*conv_norms((r"trunk\.stem", r"backbone.conv1", r"backbone.bn1")), *BLOCKS)  # torchvision, timm
