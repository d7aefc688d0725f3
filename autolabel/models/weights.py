"""Weights on file: safetensors whose metadata holds a card, enough to build the network again."""

from __future__ import annotations

import json
import struct
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import Field, JsonValue, ValidationError

from autolabel.config import Model, Positive, Table
from autolabel.errors import ConfigError, WeightsError
from autolabel.models.checks import check_entries
from autolabel.models.model import SegmentationModel, build_model
from autolabel.models.normalise import MEAN, STD

CARD = "autolabel"  # the only key of the metadata: with two, safetensors' order would not be fixed
MAX_HEADER = 16 * 2**20
MAX_CLASSES = 65_536

Three = tuple[float, float, float]
Spread = Annotated[float, Field(gt=0)]


class WeightsCard(Table):
    """What the weights are for: the network's table, its classes, and the statistics its images are normalised by."""

    table: Model
    num_classes: Annotated[Positive, Field(le=MAX_CLASSES)]
    class_names: tuple[str, ...]
    mean: Three = MEAN
    std: tuple[Spread, Spread, Spread] = STD
    extra: dict[str, JsonValue] = Field(default_factory=dict)


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
    skeleton = model.state_dict()
    check_entries(tensors, {key: tuple(value.shape) for key, value in skeleton.items()}, where)
    for key, value in skeleton.items():
        if tensors[key].dtype != value.dtype:
            raise WeightsError(where, f"{key} is {tensors[key].dtype}, expected {value.dtype}")
    model.load_state_dict(tensors, assign=True)
    return model.to(memory_format=torch.channels_last).eval(), card


def _skeleton(card: WeightsCard, where: object) -> SegmentationModel:
    """The network without memory for its weights."""
    try:
        with torch.device("meta"):
            return build_model(card.table, card.num_classes)
    except (ConfigError, RuntimeError, OverflowError) as error:
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
        card = WeightsCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(where, f"card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if len(card.class_names) != card.num_classes:
        raise WeightsError(where, f"card: {len(card.class_names)} class names for {card.num_classes} classes")
    return card


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
