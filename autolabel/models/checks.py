"""Whether a set of weights belongs to a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from autolabel.errors import WeightsError

LISTED = 5  # keys named in an error
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_entries(given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], where: object) -> None:
    """WeightsError unless `given` has just the expected keys, each a usable tensor of the expected shape.

    Floating-point entries may have any precision; they must be finite in float32, and variances not negative.
    """
    _refuse(where, "missing", [key for key in expected if key not in given])
    _refuse(where, "unexpected", [key for key in given if key not in expected])
    _refuse(where, "of the wrong type", [k for k, v in given.items() if not _same_kind(v, expected[k])])
    shapes = [
        f"{k} {list(v.shape)}, expected {list(expected[k].shape)}"
        for k, v in given.items()
        if v.shape != expected[k].shape
    ]
    _refuse(where, "mis-shaped", shapes)
    _refuse(where, "not finite", [k for k, v in given.items() if not bool(torch.isfinite(v.float()).all())])
    _refuse(where, "negative", [k for k, v in given.items() if k.endswith("running_var") and bool((v < 0).any())])


def _same_kind(value: object, expected: torch.Tensor) -> bool:
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        return False
    return value.dtype == expected.dtype or (value.dtype in FLOATS and expected.dtype in FLOATS)


def _refuse(where: object, what: str, keys: list[str]) -> None:
    if keys:
        more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
        remedy = "the file must belong to this trunk, head, fusion and number of classes"
        raise WeightsError(where, f"entries {what} ({len(keys)}): {', '.join(keys[:LISTED])}{more}", remedy)
