"""Whether a set of weights belongs to a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from autolabel.errors import WeightsError

LISTED = 5  # keys named in an error


def check_entries(given: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], where: object) -> None:
    """WeightsError unless `given` has just the expected keys, each a finite tensor of the expected shape."""
    _refuse(where, "missing", [key for key in expected if key not in given])
    _refuse(where, "unexpected", [key for key in given if key not in expected])
    _refuse(where, "not a tensor", [key for key, value in given.items() if not isinstance(value, torch.Tensor)])
    shapes = [f"{k} {list(given[k].shape)}, expected {list(s)}" for k, s in expected.items() if given[k].shape != s]
    _refuse(where, "mis-shaped", shapes)
    _refuse(where, "holding NaN or infinity", [k for k, v in given.items() if not bool(torch.isfinite(v).all())])


def _refuse(where: object, what: str, keys: list[str]) -> None:
    if keys:
        more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
        remedy = "the file must belong to this trunk, head, fusion and number of classes"
        raise WeightsError(where, f"{len(keys)} entries {what}: {', '.join(keys[:LISTED])}{more}", remedy)
