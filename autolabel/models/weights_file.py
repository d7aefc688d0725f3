"""The format of weights files: safetensors with a card, a JSON text, in its metadata.

The card says which network the weights belong to and how its images are normalised. `check_entries` checks that a set
of weights fits a network.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeGuard, TypeVar

import safetensors
import safetensors.torch
import torch
from pydantic import Field, JsonValue, ValidationError

from autolabel.config.base import Config
from autolabel.config.networks import ModelConfig
from autolabel.errors import WeightsError
from autolabel.models.layers import MEAN, STD

CARD = "autolabel"  # the only key of the metadata, because safetensors does not fix the order of several
EXPORTED_CARD = "card.json"  # the entry of torch programs and ONNX models that `export model` writes
MAX_HEADER = 16 * 2**20


def pack(tensors: Mapping[str, torch.Tensor], card: str) -> bytes:
    """safetensors bytes; the same tensors and card give the same bytes."""
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    return safetensors.torch.save(contiguous, metadata={CARD: card})


def is_safetensors(data: bytes) -> bool:
    """Whether the first bytes look like safetensors."""
    return data[8:9] == b"{"


def card_text(data: bytes, where: object) -> str | None:
    """The card of a safetensors file, or None if it has none. WeightsError if it is not a safetensors file."""
    metadata = _header(data, where).get("__metadata__", {})
    text = metadata.get(CARD) if isinstance(metadata, dict) else None
    return text if isinstance(text, str) else None


def unpack(data: bytes, where: object) -> dict[str, torch.Tensor]:
    """The tensors of a file. Raises WeightsError."""
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(where, f"not a valid safetensors file: {error}".splitlines()[0]) from None


def _header(data: bytes, where: object) -> dict[str, Any]:
    """The JSON header, which follows its length as 8 little-endian bytes."""
    (length,) = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (0,)
    if not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise WeightsError(where, "not a safetensors file, or truncated")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise WeightsError(where, "not a safetensors file: its header is not a JSON object")
    return header


LISTED = 20  # most keys in an error message
LONGEST = 120  # most characters of such a key
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
REMEDY = "the file must belong to this trunk, head, fusion and number of classes"


def check_entries(
    entries: Mapping[str, object], expected: Mapping[str, torch.Tensor], where: object, *, remedy: str = REMEDY
) -> None:
    """WeightsError unless `entries` has exactly the expected keys, each a usable tensor of the expected shape.

    Floating-point entries may have any precision; they must be finite in float32, and variances not negative.
    """

    def refuse(problems: dict[str, list[str]]) -> None:
        reasons = [f"{what} ({len(keys)}): {listed(keys)}" for what, keys in problems.items() if keys]
        if reasons:
            raise WeightsError(where, f"entries {'; '.join(reasons)}", remedy)

    missing = [key for key in expected if key not in entries]
    refuse({"missing": missing, "unexpected": [key for key in entries if key not in expected]})
    tensors = {key: value for key, value in entries.items() if _fits(value, expected[key])}
    refuse({"of the wrong type": [key for key in entries if key not in tensors]})
    refuse({"mis-shaped": [_shapes(k, v, expected[k]) for k, v in tensors.items() if v.shape != expected[k].shape]})
    refuse({"not finite": [key for key, value in tensors.items() if not bool(torch.isfinite(value.float()).all())]})
    refuse({"negative": [k for k, v in tensors.items() if k.endswith("running_var") and bool((v < 0).any())]})


def is_plain(value: object) -> TypeGuard[torch.Tensor]:
    """Whether a value is a dense tensor with data: not sparse, nested, quantised or on the meta device."""
    if not isinstance(value, torch.Tensor) or value.is_nested or value.is_meta:
        return False
    return value.layout == torch.strided and not value.is_quantized


def listed(keys: Sequence[str]) -> str:
    """The first keys, and the number of the others."""
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(key[:LONGEST] for key in keys[:LISTED]) + more


def _fits(value: object, expected: torch.Tensor) -> TypeGuard[torch.Tensor]:
    return is_plain(value) and (value.dtype == expected.dtype or (value.dtype in FLOATS and expected.dtype in FLOATS))


def _shapes(key: str, value: torch.Tensor, expected: torch.Tensor) -> str:
    return f"{key} {list(value.shape)}, expected {list(expected.shape)}"


MAX_CLASSES = 65_536

Three = tuple[float, float, float]
Spread = Annotated[float, Field(ge=1e-6)]  # less makes values of images that float32 cannot hold


class WeightsMetadata(Config):
    """Base of all cards: the statistics that images are normalised by, and remarks in `extra`."""

    mean: Three = MEAN
    std: tuple[Spread, Spread, Spread] = STD
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, allow_nan=False)


class NetworkCard(WeightsMetadata):
    """Card of a whole network; subclasses add what is needed to build it again."""

    class_names: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class WeightsCard(NetworkCard):
    """Card of a network of trunk, head and fusion, by its settings."""

    table: ModelConfig


class HuggingFaceCard(NetworkCard):
    """Card of a network of the transformers library."""

    huggingface: dict[str, JsonValue]  # its config, reduced to the settings that describe the network
    train_ids: tuple[Annotated[int, Field(ge=-1)], ...]  # train id of each class of the network; -1 for none
    # Token ids of each prompt, in the place of classes, of a network that is prompted.
    prompts: tuple[tuple[int, ...], ...] = ()

    def to_text(self) -> str:
        """Without prompts, the text is that of a card from before there were any."""
        document = self.model_dump(mode="json", exclude=set() if self.prompts else {"prompts"})
        return json.dumps(document, sort_keys=True, allow_nan=False)


class TrunkCard(WeightsMetadata):
    """Card of a trunk alone, by its name in `TRUNKS`: initial weights of a training, not a network that labels."""

    trunk: str


Card = TypeVar("Card", bound=WeightsMetadata)
AnyCard = WeightsCard | HuggingFaceCard | TrunkCard
# Key that only this type of card has -> the type; a card without such a key is a `WeightsCard`.
_TYPES: dict[str, type[HuggingFaceCard] | type[TrunkCard]] = {"huggingface": HuggingFaceCard, "trunk": TrunkCard}


def read_card(data: bytes, where: object) -> AnyCard:
    """The card of a weights file. Raises WeightsError."""
    text = card_text(data, where)
    if text is None:
        remedy = "published checkpoints must be imported first: autolabel import-weights"
        raise WeightsError(where, "no autolabel card in its metadata", remedy)
    try:
        return _card_type(text).model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(where, f"card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def reinitialised_layers(card: WeightsMetadata) -> tuple[str, ...]:
    """Layers that an import initialised randomly for other classes, and that have not been trained since."""
    imported = card.extra.get("imported")
    layers = imported.get("fresh") if isinstance(imported, dict) else None
    return tuple(map(str, layers)) if isinstance(layers, list) else ()


def check_trained(card: WeightsMetadata, where: object) -> None:
    """WeightsError for a network with randomly initialised layers, which cannot label."""
    layers = reinitialised_layers(card)
    if layers:
        what = f"its classifier layers are randomly initialised and not yet trained: {', '.join(layers)}"
        raise WeightsError(where, what[:300], "train it: name it as teacher.weights, with teacher.epochs above 0")


def clear_reinitialised(card: Card) -> Card:
    """The card without reinitialised layers, for a network that is about to be trained."""
    imported = card.extra.get("imported")
    if not isinstance(imported, dict) or "fresh" not in imported:
        return card
    return card.model_copy(update={"extra": {**card.extra, "imported": {**imported, "fresh": []}}})


def _card_type(text: str) -> type[AnyCard]:
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):
        card = None
    types = (card_type for key, card_type in _TYPES.items() if isinstance(card, dict) and key in card)
    return next(types, WeightsCard)
