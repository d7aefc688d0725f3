"""Conversion of state dicts between our module names and a published layout."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import nn

from autolabel.errors import SettingError
from autolabel.models.fusion import ExplicitAttention, ScaleAttention
from autolabel.models.heads.conv import ConvHead
from autolabel.models.heads.deeplabv3plus import DeeperHead, DeepLabV3PlusHead
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.model import SegmentationModel
from autolabel.models.published import efficientnet, keymaps
from autolabel.models.published.keymaps import AnyRow, Row
from autolabel.models.trunks.efficientnet import EfficientNet
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.resnet import ResNet
from autolabel.models.trunks.wide_resnet import WideResNet
from autolabel.models.trunks.xception import Xception
from autolabel.models.weights_file import REMEDY, check_entries

Layouts = dict[type, tuple[Row, ...]]

TRUNKS: Layouts = {
    HRNet: keymaps.HRNET,
    ResNet: keymaps.RESNET,
    WideResNet: keymaps.WIDE_RESNET,
    Xception: keymaps.XCEPTION,
    EfficientNet: efficientnet.TRUNK,
}
HEADS: Layouts = {
    OCRHead: keymaps.OCR_HEAD,
    ConvHead: keymaps.CONV_HEAD,
    DeepLabV3PlusHead: keymaps.DEEPLABV3PLUS,
    DeeperHead: keymaps.DEEPER,
}
FUSIONS: Layouts = {
    type(None): (),
    ScaleAttention: keymaps.SCALE_ATTENTION,
    ExplicitAttention: keymaps.EXPLICIT_ATTENTION,
}

TRUNK_NAME = "backbone"
OTHER_TRUNK_NAMES: dict[type, str] = {DeeperHead: "trunk"}

LAYERS = (nn.Conv2d, nn.BatchNorm2d)  # the layer types that have weights
PREFIX = "module."  # in checkpoints of a data-parallel wrapper
COUNTER = "num_batches_tracked"  # of a norm; PyTorch before 0.4.1 had none, and no network here reads it


def published_keys(model: SegmentationModel) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the network's published layout, in order; ConfigError if there is no such layout."""
    return {key: tuple(value.shape) for key, value in published_state(model).items()}


def published_state(model: SegmentationModel) -> dict[str, torch.Tensor]:
    """The weights (not copied) under the published keys."""
    names = published_names(model)
    return {names[key]: value for key, value in model.state_dict().items()}


def load_published(
    model: SegmentationModel, state_dict: Mapping[str, torch.Tensor], *, where: object = "published checkpoint"
) -> None:
    """Load weights of the published layout; a `module.` prefix is removed.

    Strict: WeightsError lists missing, unexpected, mis-shaped and non-finite entries (`where` names the file), and the
    model does not change. Only the counters of norms may be missing.
    """
    entries = {str(key).removeprefix(PREFIX): value for key, value in state_dict.items()}
    model.load_state_dict(to_state_dict(entries, published_names(model), model.state_dict(), where))


def to_state_dict(
    entries: Mapping[str, object],
    names: Mapping[str, str],
    state: Mapping[str, torch.Tensor],
    where: object,
    *,
    remedy: str = REMEDY,
) -> dict[str, torch.Tensor]:
    """Entries under published names -> copies under our keys, in the types of `state`.

    `names` maps our keys to the published ones, `state` our keys to tensors of the expected shapes. Strict like
    `load_published`; missing counters of norms start at 0.
    """
    expected = {names[key]: value for key, value in state.items()}
    counters = absent_counters(entries, expected)
    check_entries({**entries, **counters}, expected, where, remedy=remedy)
    values = {key: entries.get(names[key], counters.get(names[key])) for key in state}
    return {
        key: value.detach().to(state[key].dtype, copy=True)
        for key, value in values.items()
        if isinstance(value, torch.Tensor)  # checked already
    }


def absent_counters(keys: Collection[str], expected: Collection[str]) -> dict[str, torch.Tensor]:
    """Zeros for the counters of norms that are not among the keys of a checkpoint."""
    return {k: torch.zeros((), dtype=torch.int64) for k in expected if k.endswith(COUNTER) and k not in keys}


def published_names(model: SegmentationModel) -> dict[str, str]:
    """Our keys -> the published ones; ConfigError if there is no published layout."""
    return names_of(model, _rows(model))


def names_of(module: nn.Module, rows: tuple[AnyRow, ...], prefix: str = "") -> dict[str, str]:
    """Our keys -> the published ones for a module whose keys start with `prefix`."""
    named = module.named_modules(prefix=prefix.removesuffix("."))
    layers = {path: _name(path, rows) for path, layer in named if isinstance(layer, LAYERS)}
    keys = module.state_dict(prefix=prefix)
    return {key: f"{layers[path]}.{entry}" for key in keys for path, _, entry in [key.rpartition(".")]}


def _rows(model: SegmentationModel) -> tuple[Row, ...]:
    """The key map of a network; ConfigError for a trunk, head or fusion without a published layout."""
    parts = (("trunk", model.trunk, TRUNKS), ("head", model.head, HEADS), ("fusion", model.attention, FUSIONS))
    for part, module, layouts in parts:
        if type(module) not in layouts:
            raise SettingError(f"model.{part}", f"no published layout for {model.table[part]!r}")
    name = OTHER_TRUNK_NAMES.get(type(model.head), TRUNK_NAME)
    trunk = ((path, name + theirs.removeprefix(TRUNK_NAME)) for path, theirs in TRUNKS[type(model.trunk)])
    return (*trunk, *HEADS[type(model.head)], *FUSIONS[type(model.attention)])


def _name(path: str, rows: tuple[AnyRow, ...]) -> str:
    """The published name, by the first pattern that matches the whole path."""
    for pattern, name in rows:
        if match := re.fullmatch(pattern, path):
            return match.expand(name) if isinstance(name, str) else name(match)
    raise AssertionError(f"no published name for {path}")
