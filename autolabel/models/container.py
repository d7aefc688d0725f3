"""The file that weights lie in: safetensors with one text, the card, in its metadata."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch

from autolabel.errors import WeightsError

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
