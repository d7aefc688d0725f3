"""Key map of the published HRNet: NVIDIA/semantic-segmentation `backbone.*`."""

from __future__ import annotations

from autolabel.models.published.rows import conv_norms

TRUNK = conv_norms(
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
