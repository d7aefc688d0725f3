"""Whether a set of weights belongs to a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import torch

from autolabel.errors import WeightsError

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
