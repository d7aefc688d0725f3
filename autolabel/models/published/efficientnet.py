"""Key maps of the published EfficientNets, trunks alone: those of efficientnet-pytorch and efficientnet-lite-pytorch,
which count the blocks of all stages together, and timm's, which count them a stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from autolabel.models.layers import MEAN, STD
from autolabel.models.published.keymaps import AnyRow, conv_norms
from autolabel.models.trunks.efficientnet import EfficientNet, InvertedResidual, SameConvNorm

Three = tuple[float, float, float]

TRUNK = (
    *conv_norms(
        (r"trunk\.stem", "backbone._conv_stem", "backbone._bn0"),
        (r"trunk\.blocks\.(\d+)\.expand", r"backbone._blocks.\1._expand_conv", r"backbone._blocks.\1._bn0"),
        (r"trunk\.blocks\.(\d+)\.depthwise", r"backbone._blocks.\1._depthwise_conv", r"backbone._blocks.\1._bn1"),
        (r"trunk\.blocks\.(\d+)\.project", r"backbone._blocks.\1._project_conv", r"backbone._blocks.\1._bn2"),
    ),
    (r"trunk\.blocks\.(\d+)\.excite\.(reduce|expand)", r"backbone._blocks.\1._se_\2"),
)

# Entries after the trunk, up to the classes.
CLASSIFIERS = ("_conv_head.", "_bn1.", "_fc.", "conv_head.", "bn2.")

_EXCITE = {"excite.reduce": "se.conv_reduce", "excite.expand": "se.conv_expand"}
_EXPANDING = _EXCITE | {
    "expand.conv": "conv_pw", "expand.norm": "bn1", "depthwise.conv": "conv_dw", "depthwise.norm": "bn2",
    "project.conv": "conv_pwl", "project.norm": "bn3",
}  # fmt: skip
_SEPARABLE = _EXCITE | {
    "depthwise.conv": "conv_dw", "depthwise.norm": "bn1", "project.conv": "conv_pw", "project.norm": "bn2",
}  # fmt: skip

LITE_MEAN: Three = (127 / 255,) * 3  # (x - 127) / 128
LITE_STD: Three = (128 / 255,) * 3


def timm_rows(trunk: EfficientNet) -> tuple[AnyRow, ...]:
    """timm's names, which depend on how many blocks each stage has."""
    places = [f"backbone.blocks.{stage}.{i}" for stage, depth in enumerate(trunk.depths) for i in range(depth)]
    blocks = [(place, _layers(block)) for place, block in zip(places, trunk.blocks, strict=True)]
    stem = conv_norms((r"trunk\.stem", "backbone.conv_stem", "backbone.bn1"))
    return (*stem, (r"trunk\.blocks\.(\d+)\.(.+)", partial(_timm_name, blocks)))


def normalisation(trunk: EfficientNet) -> tuple[Three, Three]:
    """Mean and standard deviation of the images that the published weights were trained on."""
    return (LITE_MEAN, LITE_STD) if trunk.lite else (MEAN, STD)


def _layers(block: object) -> Mapping[str, str]:
    assert isinstance(block, InvertedResidual), block
    return _EXPANDING if isinstance(block.expand, SameConvNorm) else _SEPARABLE


def _timm_name(blocks: list[tuple[str, Mapping[str, str]]], path: re.Match[str]) -> str:
    place, layers = blocks[int(path[1])]
    return f"{place}.{layers[path[2]]}"
