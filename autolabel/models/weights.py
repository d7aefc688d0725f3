"""Weights on file: safetensors whose metadata holds a card, enough to build the network again."""

from __future__ import annotations

import json
import struct
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import Field, JsonValue, ValidationError

from autolabel.config import Model, Table
from autolabel.errors import ConfigError, WeightsError
from autolabel.models.checks import check_entries
from autolabel.models.model import SegmentationModel, build_model, to_channels_last
from autolabel.models.normalise import MEAN, STD

CARD = "autolabel"  # the only key of the metadata: with two, safetensors' order would not be fixed
MAX_HEADER = 16 * 2**20
MAX_CLASSES = 65_536

Three = tuple[float, float, float]
Spread = Annotated[float, Field(gt=0)]


class WeightsCard(Table):
    """What the weights are for: the network's table, its classes, and the statistics its images are normalised by."""

    table: Model
    class_names: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]
    mean: Three = MEAN
    std: tuple[Spread, Spread, Spread] = STD
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def weights_to_bytes(model: SegmentationModel, card: WeightsCard) -> bytes:
    """safetensors bytes: the same weights and card give the same bytes."""
    assert card.table.model_dump() == model.table, (card.table, model.table)
    assert card.num_classes == model.num_classes, (card.num_classes, model.num_classes)
    text = json.dumps(card.model_dump(mode="json"), sort_keys=True, allow_nan=False)
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    return safetensors.torch.save(tensors, metadata={CARD: text})


def weights_from_bytes(data: bytes, where: object) -> tuple[SegmentationModel, WeightsCard]:
    """The network in eval mode on the CPU, and its card; `where` names the file in errors.

    Nothing is trusted: WeightsError for a damaged file, a missing or invalid card, an unknown network, and keys,
    shapes, types or values that do not belong to it. No memory is taken for a network the file does not fill.
    """
    card = _card(data, where)
    model = _skeleton(card, where)
    tensors = _tensors(data, where)
    check_entries(tensors, model.state_dict(), where)
    model.load_state_dict(tensors, assign=True)
    return to_channels_last(model.float()).eval(), card


def _skeleton(card: WeightsCard, where: object) -> SegmentationModel:
    """The network without memory for its weights."""
    try:
        with torch.device("meta"):
            return build_model(card.table, card.num_classes)
    except (ConfigError, RuntimeError, OverflowError, TypeError) as error:
        raise WeightsError(where, f"its card describes no network: {error}".splitlines()[0]) from None


def _tensors(data: bytes, where: object) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(where, f"not a valid safetensors file: {error}".splitlines()[0]) from None


def _card(data: bytes, where: object) -> WeightsCard:
    text = _header(data, where).get("__metadata__", {})
    text = text.get(CARD) if isinstance(text, dict) else None
    if not isinstance(text, str):
        raise WeightsError(where, "no autolabel card in its metadata", "published checkpoints must be imported first")
    try:
        return WeightsCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(where, f"card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _header(data: bytes, where: object) -> dict[str, Any]:
    """safetensors: 8 bytes little-endian length, then that many bytes of JSON."""
    (length,) = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (0,)
    if not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise WeightsError(where, "not a safetensors file, or cut short")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise WeightsError(where, "not a safetensors file: its header is no JSON object")
    return header
