"""Between our module names and a published layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from autolabel.errors import ConfigError
from autolabel.models.checks import check_entries
from autolabel.models.layers import ConvNorm, Readout
from autolabel.models.model import SegmentationModel
from autolabel.models.published import hrnet_ocr
from autolabel.models.trunks.hrnet import HRNet

PREFIX = "module."  # of checkpoints saved from a data-parallel wrapper


def published_keys(model: SegmentationModel) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the published layout of this network, in its order; ConfigError if there is none."""
    return {key: tuple(value.shape) for key, value in published_state(model).items()}


def published_state(model: SegmentationModel) -> dict[str, torch.Tensor]:
    """The weights (not copied) under the published keys."""
    names = _names(model)
    return {names[key]: value for key, value in model.state_dict().items()}


def load_published(
    model: SegmentationModel, state_dict: Mapping[str, torch.Tensor], *, where: object = "published checkpoint"
) -> None:
    """Load weights of the published layout; a `module.` prefix is taken off.

    Strict: WeightsError names missing, unexpected, mis-shaped and non-finite entries (`where` names the file),
    and the model stays as it was.
    """
    ours = {theirs: key for key, theirs in _names(model).items()}
    given = {str(key).removeprefix(PREFIX): value for key, value in state_dict.items()}
    check_entries(given, published_state(model), where)
    model.load_state_dict({ours[key]: value for key, value in given.items()})


def _names(model: SegmentationModel) -> dict[str, str]:
    """Our state key -> the published one."""
    if not isinstance(model.trunk, HRNet):
        raise ConfigError("model.trunk", f"no published layout for {model.table['trunk']!r}")
    modules = dict(_module_names(model))
    return {key: f"{modules[path]}.{entry}" for key in model.state_dict() for path, _, entry in [key.rpartition(".")]}


def _module_names(model: nn.Module) -> Iterator[tuple[str, str]]:
    for path, module in model.named_modules():
        if isinstance(module, Readout):
            yield path, hrnet_ocr.READOUTS[path]
        elif isinstance(module, ConvNorm):
            conv, norm = _conv_norm(path)
            yield f"{path}.conv", conv
            yield f"{path}.norm", norm


def _conv_norm(path: str) -> tuple[str, str]:
    for pattern, conv, norm in hrnet_ocr.CONV_NORMS:
        if match := re.fullmatch(pattern, path):
            return match.expand(conv), match.expand(norm)
    raise AssertionError(f"no published name for {path}")
