"""The file that weights lie in: safetensors with one text, the card, in its metadata.

Whether a set of weights belongs to a network.

What lies beside weights on file: which network they belong to, and how its images are normalised.
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

from autolabel.config.schema import Config, ModelConfig
from autolabel.errors import WeightsError
from autolabel.models.layers import MEAN, STD

CARD = "autolabel"  # the only key of the metadata: with two, safetensors' order would not be fixed
MAX_HEADER = 16 * 2**20


def pack(tensors: Mapping[str, torch.Tensor], card: str) -> bytes:
    """The same tensors and card give the same bytes."""
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    return safetensors.torch.save(contiguous, metadata={CARD: card})


def is_safetensors(data: bytes) -> bool:
    """By the first bytes: whether it is worth reading as one."""
    return data[8:9] == b"{"


def card_text(data: bytes, where: object) -> str | None:
    """The card of a file; None where a safetensors file has none. WeightsError where it is no such file."""
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


LISTED = 20  # keys named in an error
LONGEST = 120  # characters of a key named there
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
REMEDY = "the file must belong to this trunk, head, fusion and number of classes"


def check_entries(
    given: Mapping[str, object], expected: Mapping[str, torch.Tensor], where: object, *, remedy: str = REMEDY
) -> None:
    """WeightsError unless `given` has just the expected keys, each a usable tensor of the expected shape.

    Floating-point entries may have any precision; they must be finite in float32, and variances not negative.
    """

    def refuse(problems: dict[str, list[str]]) -> None:
        found = [f"{what} ({len(keys)}): {listed(keys)}" for what, keys in problems.items() if keys]
        if found:
            raise WeightsError(where, f"entries {'; '.join(found)}", remedy)

    missing = [key for key in expected if key not in given]
    refuse({"missing": missing, "unexpected": [key for key in given if key not in expected]})
    tensors = {key: value for key, value in given.items() if _fits(value, expected[key])}
    refuse({"of the wrong type": [key for key in given if key not in tensors]})
    refuse({"mis-shaped": [_shapes(k, v, expected[k]) for k, v in tensors.items() if v.shape != expected[k].shape]})
    refuse({"not finite": [key for key, value in tensors.items() if not bool(torch.isfinite(value.float()).all())]})
    refuse({"negative": [k for k, v in tensors.items() if k.endswith("running_var") and bool((v < 0).any())]})


def is_plain(value: object) -> TypeGuard[torch.Tensor]:
    """A tensor that holds its numbers itself: not sparse, nested, quantised or a mere shape."""
    if not isinstance(value, torch.Tensor) or value.is_nested or value.is_meta:
        return False
    return value.layout == torch.strided and not value.is_quantized


def listed(keys: Sequence[str]) -> str:
    """The first of the keys, and how many more there are."""
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(key[:LONGEST] for key in keys[:LISTED]) + more


def _fits(value: object, expected: torch.Tensor) -> TypeGuard[torch.Tensor]:
    return is_plain(value) and (value.dtype == expected.dtype or (value.dtype in FLOATS and expected.dtype in FLOATS))


def _shapes(key: str, given: torch.Tensor, expected: torch.Tensor) -> str:
    return f"{key} {list(given.shape)}, expected {list(expected.shape)}"


MAX_CLASSES = 65_536

Three = tuple[float, float, float]
Spread = Annotated[float, Field(gt=0)]


class WeightsMetadata(Config):
    """What every card holds: the statistics that images are normalised by, and remarks."""

    mean: Three = MEAN
    std: tuple[Spread, Spread, Spread] = STD
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, allow_nan=False)


class NetworkCard(WeightsMetadata):
    """A whole network, enough to build it again: each kind adds what describes it."""

    class_names: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class WeightsCard(NetworkCard):
    """A network of ours, by its table."""

    table: ModelConfig


class HuggingFaceCard(NetworkCard):
    """A network of the transformers library."""

    huggingface: dict[str, JsonValue]  # its config, reduced to what describes the network
    train_ids: tuple[Annotated[int, Field(ge=-1)], ...]  # of each of its classes; -1: it counts for none of ours


class TrunkCard(WeightsMetadata):
    """A trunk alone, by its name in `TRUNKS`: a start for training, nothing that labels."""

    trunk: str


CardKind = TypeVar("CardKind", bound=WeightsMetadata)
AnyCard = WeightsCard | HuggingFaceCard | TrunkCard
# By the entry that only cards of this kind have; the others are of networks of ours.
_KINDS: dict[str, type[HuggingFaceCard] | type[TrunkCard]] = {"huggingface": HuggingFaceCard, "trunk": TrunkCard}


def read_card(data: bytes, where: object) -> AnyCard:
    """The card of a weights file. Raises WeightsError."""
    text = card_text(data, where)
    if text is None:
        remedy = "published checkpoints must be imported first: autolabel import-weights"
        raise WeightsError(where, "no autolabel card in its metadata", remedy)
    try:
        return _kind(text).model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(where, f"card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def reinitialised_layers(card: WeightsMetadata) -> tuple[str, ...]:
    """Layers that an import drew anew, for other classes, and that no training has seen since."""
    imported = card.extra.get("imported")
    layers = imported.get("fresh") if isinstance(imported, dict) else None
    return tuple(map(str, layers)) if isinstance(layers, list) else ()


def check_trained(card: WeightsMetadata, where: object) -> None:
    """WeightsError where the network would label by layers that have learnt nothing."""
    layers = reinitialised_layers(card)
    if layers:
        what = f"its layers of classes were drawn anew and know nothing yet: {', '.join(layers)}"
        raise WeightsError(where, what[:300], "train it: name it as teacher.weights, with teacher.epochs above 0")


def clear_reinitialised(card: CardKind) -> CardKind:
    """The card of a network whose training begins: none of its layers counts as drawn anew."""
    imported = card.extra.get("imported")
    if not isinstance(imported, dict) or "fresh" not in imported:
        return card
    return card.model_copy(update={"extra": {**card.extra, "imported": {**imported, "fresh": []}}})


def _kind(text: str) -> type[AnyCard]:
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):
        card = None
    found = (kind for entry, kind in _KINDS.items() if isinstance(card, dict) and entry in card)
    return next(found, WeightsCard)
